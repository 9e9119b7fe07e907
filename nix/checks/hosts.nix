# Every host, and each rig of the template: its settings, as the package itself checks them while
# the system is built. `nix flake check` looks at the hosts themselves.
{
  lib,
  nixpkgs,
  modules,
  hosts,
  run,
  ...
}:
let
  # The file names the engine's interpreter, which nothing here starts.
  withoutEngine = {
    services.rigappliance.settings.engine.python = lib.mkForce "/run/current-system/sw/bin/python3";
  };
  configFile =
    host: (host.extendModules { modules = [ withoutEngine ]; }).config.services.rigappliance.configFile;

  # The template as somebody who uses it evaluates it.
  template =
    ((import ../../templates/rig/flake.nix).outputs {
      self = { };
      inherit nixpkgs;
      rigappliance.nixosModules = modules;
    }).nixosConfigurations;

  checked =
    prefix: lib.mapAttrs' (name: host: lib.nameValuePair "${prefix}-${name}" (configFile host));
in
checked "settings" hosts
// checked "template-settings" template
// {
  # Evaluated, assertions and all, and not built.
  template-systems = run "template-systems" {
    systems = lib.mapAttrsToList (
      _: host: builtins.unsafeDiscardStringContext host.config.system.build.toplevel.drvPath
    ) template;
  } ''printf '%s\n' $systems'';
}

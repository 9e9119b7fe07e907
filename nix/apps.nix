# `nix run .#launch -- -c rig.toml` and its like: the program, its engine and its toolchain.
{
  lib,
  pkgs,
  packages,
}:
let
  inherit (packages) rigappliance engine toolchain;

  # A verb that needs the engine.
  withEngine =
    verb: description:
    pkgs.writeShellApplication {
      name = "rigappliance-${verb}";
      runtimeInputs = [ rigappliance ] ++ toolchain.path;
      runtimeEnv = toolchain.environment;
      text = ''
        # What the environment says wins over the file, whose engine may be none or another.
        export RIGAPPLIANCE_ENGINE__PYTHON="''${RIGAPPLIANCE_ENGINE__PYTHON:-${engine}/bin/python}"
        # On a rig, its own configuration, unless -c names another.
        if [[ -z "''${RIGAPPLIANCE_CONFIG:-}" && -e /etc/rigappliance/rig.json ]]; then
          export RIGAPPLIANCE_CONFIG=/etc/rigappliance/rig.json
        fi
        exec rigappliance ${verb} "$@"
      '';
      meta = { inherit description; };
    };

  app = package: description: {
    type = "app";
    program = lib.getExe package;
    meta = { inherit description; };
  };

  verbs = {
    check = "Say what would go wrong before it does";
    launch = "Start the engine, watch it, prove it ready, stop it cleanly";
    plan = "Say how the model fits the rig before it is loaded";
  };
  present = lib.filterAttrs (
    verb: _: builtins.pathExists (../rigappliance/cli + "/${verb}.py")
  ) verbs;
in
lib.mapAttrs (verb: description: app (withEngine verb description) description) present
// {
  # Without a verb it lists them.
  default = app rigappliance rigappliance.meta.description;
}

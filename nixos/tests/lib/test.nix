# The test NAME of NixOS's test driver, of the files that the package's own guests read too:
# ../NAME.py is its script, ../NAME.json the settings of its machine, ../NAME.toml what that has
# beyond them (rigappliance/vmtest/needs.py has the keys).
name:
{ lib, ... }:
let
  file = ../. + "/${name}.toml";
  needs = {
    memory = "1GiB";
    cpus = 2;
  }
  // lib.optionalAttrs (lib.pathExists file) (lib.importTOML file);
  settings = lib.importJSON (../. + "/${name}.json");
in
{
  name = "rigappliance-${name}";

  nodes.machine =
    {
      config,
      lib,
      pkgs,
      ...
    }:
    let
      inherit (import ../../modules/lib.nix { inherit lib; }) bytes;

      cfg = config.services.rigappliance;
      sources = import ../../../nix/sources.nix { inherit lib; };

      # What rigappliance/vmtest/bundle.py describes.
      bundle =
        pkgs.runCommand "vm-test-${name}"
          {
            nativeBuildInputs = [ cfg.package ];
          }
          ''
            rigappliance-vmtest bundle ${name} "$out" \
              --tests ${sources [ "nixos/tests" ]}/nixos/tests \
              --recordings ${sources [ "tests/recordings" ]}/tests/recordings \
              --python ${pkgs.python3}/bin/python3
          '';
    in
    {
      services.rigappliance = {
        enable = true;
        inherit settings;
        swap.enable = lib.mkIf (settings ? memory.swap) (settings.memory.swap != "0B");
        toolchain.enable = false;
      };

      systemd.services.vmtest-setup = {
        description = "What this test's machine has beyond its settings";
        wantedBy = [ "multi-user.target" ];
        before = [
          "rigappliance.service"
          "rigappliance-swap.service"
          "rigappliance-weights.service"
        ];
        # Of the file systems that a test may ask for.
        path = [
          pkgs.e2fsprogs
          pkgs.xfsprogs
          pkgs.btrfs-progs
          (pkgs.util-linux or pkgs.utillinux)
        ];
        serviceConfig = {
          Type = "oneshot";
          RemainAfterExit = true;
          ExecStart = "${pkgs.runtimeShell} ${./setup.sh} ${bundle} ${cfg.settings.model.path}";
        };
      };

      environment.systemPackages = [
        pkgs.python3
      ]
      ++ map (package: pkgs.${package}) (needs.nixos_packages or [ ]);

      virtualisation = {
        memorySize = bytes needs.memory / 1048576;
        cores = needs.cpus;
        diskSize = 8192;
      };
    };

  testScript = builtins.readFile ./prelude.py + builtins.readFile (../. + "/${name}.py");
}

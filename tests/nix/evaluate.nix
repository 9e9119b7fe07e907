# The names that tests/nix evaluates with: the modules under an evaluation bench, with packages that
# stand for the real ones.
{ bench, tools }:
let
  lib = import (tools + "/lib.nix") { inherit bench; };
  root = ../..;

  standIns =
    { pkgs, ... }:
    let
      standIn = name: attributes: pkgs.runCommand name attributes "exit 1";
    in
    {
      services.rigappliance = {
        package = lib.mkDefault (standIn "rigappliance" { });
        enginePackage = lib.mkDefault (standIn "engine" { });
        toolchain.package = lib.mkDefault (
          standIn "toolchain" {
            passthru.path = [ pkgs.ninja ];
            passthru.environment.CC = "/stand-in/cc";
          }
        );
      };
    };
in
rec {
  inherit lib;

  # The modules alone, on a machine of whose parts only those are declared that NixOS insists on.
  appliance = {
    imports = [
      (root + "/nixos/modules")
      standIns
    ];
    services.rigappliance.enable = true;
    fileSystems."/" = {
      device = "/dev/disk/by-label/root";
      fsType = "ext4";
    };
    boot.loader.grub.device = "/dev/sda";
  };

  # The rig as it is for everybody.
  rig.imports = [
    (root + "/nixos/modules")
    (root + "/nixos/hosts/rig")
    standIns
  ];

  # The rig with the key of somebody who administers it.
  host = {
    imports = [ rig ];
    users.users.operator.openssh.authorizedKeys.keys = [ "ssh-ed25519 AAAA operator" ];
  };

  # A driver of a version, which the bench's old package set has not.
  driver =
    version:
    { pkgs, ... }:
    {
      services.rigappliance.gpu.driverPackage = pkgs.runCommand "nvidia-x11-${version}" {
        inherit version;
        pname = "nvidia-x11";
      } "exit 1";
    };

  system = modules: import (tools + "/nixos.nix") { inherit bench modules; };
  config = modules: (system modules).config;

  # What the appliance's own assertions and warnings say. Those of NixOS are left out: each of them
  # would have to be evaluated.
  findings =
    modules:
    let
      evaluated = system modules;
      isOwn = one: lib.hasSuffix "/nixos/modules/assertions.nix" (toString one.file);
      own =
        name:
        let
          all = evaluated.options.${name}.definitionsWithLocations;
        in
        lib.concatLists (lib.catAttrs "value" (lib.filter isOwn all));
    in
    {
      refused = map (failed: failed.message) (
        lib.filter (assertion: !assertion.assertion) (own "assertions")
      );
      warned = own "warnings";
    };

  # All that NixOS asserts, and not only the appliance.
  allRefused =
    modules:
    map (failed: failed.message) (
      lib.filter (assertion: !assertion.assertion) (config modules).assertions
    );

  unitTexts =
    modules:
    lib.mapAttrs (_: unit: unit.text) (
      lib.filterAttrs (name: _: lib.hasPrefix "rigappliance" name) (config modules).systemd.units
    );

  # The path of the derivation, which is made and not built.
  instantiate = derivation: builtins.unsafeDiscardStringContext derivation.drvPath;

  # A VM test under NixOS's test driver.
  vmTest =
    name:
    (system [ appliance ])._module.args.pkgs.testers.runNixOSTest {
      imports = [ (import (root + "/nixos/tests/lib/test.nix") name) ];
      defaults.imports = [
        (root + "/nixos/modules")
        standIns
      ];
    };

  # The appliance's units on the machine of a VM test, for a guest that is no NixOS.
  nodeUnits =
    name:
    let
      node = (vmTest name).nodes.machine;
      own = lib.filterAttrs (unit: _: lib.hasPrefix "rigappliance" unit) node.systemd.units;
      text = builtins.unsafeDiscardStringContext;
    in
    {
      texts = lib.mapAttrs (_: unit: text unit.text) own;
      wantedBy = lib.mapAttrs (_: unit: unit.wantedBy) own;
      package = text "${node.services.rigappliance.package}";
      configFile = text "${node.services.rigappliance.configFile}";
    };
}

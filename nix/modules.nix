# The NixOS module with this flake's packages.
{ lib, packages }:
let
  rigappliance = {
    # A name of its own, so that it counts once however often it is imported.
    key = "rigappliance";
    _file = ./modules.nix;
    imports = [ ../nixos/modules ];
    services.rigappliance = {
      package = lib.mkDefault packages.rigappliance;
      enginePackage = lib.mkDefault packages.engine;
      toolchain.package = lib.mkDefault packages.toolchain;
    };
  };
in
{
  inherit rigappliance;
  default = rigappliance;
  # The reference rig around it: boot, disk, ssh, journal and the profiles. Not a whole host without
  # an administrator's key.
  rig = {
    key = "rigappliance-rig";
    imports = [
      rigappliance
      ../nixos/hosts/rig
    ];
  };
}

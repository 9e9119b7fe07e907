# Every file of nixos/tests is a test for NixOS's test driver.
{
  lib,
  pkgs,
  modules,
  ...
}:
let
  files = lib.filter (lib.hasSuffix ".nix") (lib.attrNames (builtins.readDir ../../nixos/tests));
in
lib.listToAttrs (
  map (
    file:
    lib.nameValuePair "vm-${lib.removeSuffix ".nix" file}" (
      pkgs.testers.runNixOSTest {
        imports = [ (../../nixos/tests + "/${file}") ];
        defaults = modules.default;
      }
    )
  ) files
)

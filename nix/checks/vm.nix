# Every script of nixos/tests is a test for NixOS's test driver.
{
  lib,
  pkgs,
  modules,
  ...
}:
let
  scripts = lib.filter (lib.hasSuffix ".py") (lib.attrNames (builtins.readDir ../../nixos/tests));
  test =
    name:
    pkgs.testers.runNixOSTest {
      imports = [ (import ../../nixos/tests/lib/test.nix name) ];
      defaults = modules.default;
    };
in
lib.listToAttrs (
  map (
    script:
    let
      name = lib.removeSuffix ".py" script;
    in
    lib.nameValuePair "vm-${name}" (test name)
  ) scripts
)

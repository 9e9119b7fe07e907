# Every folder of nixos/hosts is a host.
{ nixpkgs, modules }:
let
  inherit (nixpkgs) lib;
  folders = lib.filterAttrs (_: kind: kind == "directory") (builtins.readDir ../nixos/hosts);
in
lib.mapAttrs (
  name: _:
  lib.nixosSystem {
    modules = [
      modules.default
      (../nixos/hosts + "/${name}")
    ];
  }
) folders

# `nix develop`: the developers' tools, and what the engine compiles its kernels with.
{
  lib,
  pkgs,
  packages,
}:
let
  inherit (packages.toolchain) path environment;
in
pkgs.mkShell {
  name = "rigappliance";
  packages = [
    packages.dev
    pkgs.gnumake
    pkgs.nixfmt
  ];
  # Last of all, because the shell's own compiler sets CC and its like for itself.
  shellHook = ''
    export PATH=${lib.makeBinPath path}:$PATH
    ${lib.concatLines (
      lib.mapAttrsToList (name: value: "export ${lib.toShellVar name value}") environment
    )}
  '';
}

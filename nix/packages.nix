# The packages of the flake, and the environment of its checks.
{
  lib,
  pkgs,
  poetry2nix,
}:
let
  # vLLM's wheels are made for this one, and the locks hold a wheel for no other.
  python = pkgs.python312;

  poetry = import ./poetry2nix.nix { inherit lib pkgs poetry2nix; };
  control = import ./control.nix {
    inherit
      lib
      pkgs
      python
      poetry
      ;
    sources = import ./sources.nix { inherit lib; };
  };
in
rec {
  rigappliance = control.program;

  engine = import ./engine.nix {
    inherit
      lib
      pkgs
      python
      poetry
      ;
  };

  toolchain = import ./toolchain.nix {
    inherit lib pkgs python;
    inherit (engine) cudaVersion;
  };

  inherit (control) dev;
}

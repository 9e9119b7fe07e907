# The appliance. The flake's module of the same name adds the packages.
{
  imports = [
    ./options.nix
    ./engine.nix
    ./swap.nix
    ./gpu.nix
    ./toolchain.nix
    ./weights.nix
    ./monitoring.nix
    ./assertions.nix
  ];
}

# Nothing large is built on the rig: two cores would compile for days. What is missing from the
# caches is built elsewhere (`nixos-rebuild switch --build-host`).
{ lib, ... }:
{
  nix.settings = {
    experimental-features = [
      "nix-command"
      "flakes"
    ];
    # The community's cache of CUDA packages, whose licence keeps them out of the usual one.
    extra-substituters = [ "https://cache.nixos-cuda.org" ];
    extra-trusted-public-keys = [
      "cache.nixos-cuda.org:74DUi4Ye579gUqzH4ziL9IyiJBlDpMRn9MBN8oNan9M="
    ];
    # One build at a time: the engine has the memory.
    max-jobs = lib.mkDefault 1;
    auto-optimise-store = lib.mkDefault true;
  };

  # Old engines are gigabytes each, on the disk that swaps. Two months are enough to roll back.
  nix.gc = {
    automatic = lib.mkDefault true;
    dates = lib.mkDefault "weekly";
    options = lib.mkDefault "--delete-older-than 60d";
  };
}

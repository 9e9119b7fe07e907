# What `nix flake check` builds. None of it needs the engine, which is gigabytes.
{
  nixpkgs,
  pkgs,
  packages,
  modules,
  hosts,
}:
let
  inherit (nixpkgs) lib;
  sources = import ../sources.nix { inherit lib; };

  # Nothing but an exit status is wanted of most of them.
  run =
    name: attributes: script:
    pkgs.runCommand name attributes ''
      ${script}
      touch $out
    '';

  imported =
    file:
    import file {
      inherit
        lib
        nixpkgs
        pkgs
        packages
        modules
        hosts
        sources
        run
        ;
    };
in
lib.mergeAttrsList (
  map imported [
    ./hosts.nix
    ./refusals.nix
    ./vm.nix
    ./nix-files.nix
    ./python.nix
  ]
)

{
  description = "Declare a rig, and get an endpoint that is planned, watched and proved";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";
    poetry2nix.url = "github:nix-community/poetry2nix";
    poetry2nix.inputs.nixpkgs.follows = "nixpkgs";
  };

  # No nixConfig: it would ask every user of the flake to trust another cache, for packages of which
  # the host `rig` alone has more than a few. There, nixos/hosts/rig/nix.nix declares it.

  outputs =
    { nixpkgs, poetry2nix, ... }:
    let
      system = "x86_64-linux";
      inherit (nixpkgs) lib;

      pkgs = import nixpkgs {
        inherit system;
        config.allowUnfreePredicate = import ./nix/unfree.nix { inherit lib; };
      };
      packages = import ./nix/packages.nix { inherit lib pkgs poetry2nix; };
      modules = import ./nix/modules.nix { inherit lib packages; };
      hosts = import ./nix/hosts.nix { inherit nixpkgs modules; };
    in
    {
      nixosModules = modules;
      nixosConfigurations = hosts;

      packages.${system} = {
        default = packages.rigappliance;
        inherit (packages) rigappliance engine toolchain;
      };

      apps.${system} = import ./nix/apps.nix { inherit lib pkgs packages; };
      checks.${system} = import ./nix/checks {
        inherit
          nixpkgs
          pkgs
          packages
          modules
          hosts
          ;
      };
      devShells.${system}.default = import ./nix/shell.nix { inherit lib pkgs packages; };
      formatter.${system} = import ./nix/formatter.nix { inherit pkgs; };

      templates = import ./nix/templates.nix;
    };
}

{
  description = "Rigs that serve a large model";

  inputs = {
    rigappliance.url = "github:rigappliance/rigappliance";
    # The NixOS that the appliance is tested with.
    nixpkgs.follows = "rigappliance/nixpkgs";
  };

  outputs =
    { nixpkgs, rigappliance, ... }:
    let
      # A line a rig: its host name, and the ssh keys that may log in as `operator`. A rig without a
      # key can be reached at its console only. For twenty identical rigs, write twenty lines.
      rigs = {
        rig-01 = [ ];
      };

      host =
        hostName: keys:
        nixpkgs.lib.nixosSystem {
          modules = [
            rigappliance.nixosModules.rig
            ./configuration.nix
            {
              networking = { inherit hostName; };
              users.users.operator.openssh.authorizedKeys = { inherit keys; };
            }
          ];
        };
    in
    {
      nixosConfigurations = nixpkgs.lib.mapAttrs host rigs;
    };
}

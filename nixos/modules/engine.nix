# The engine's service, its user, its directories and its port.
{ config, lib, ... }:
let
  inherit (import ./lib.nix { inherit lib; }) isBelow;

  cfg = config.services.rigappliance;
  inherit (cfg) settings;
  unit = import ./unit.nix { inherit config lib; };

  owned = {
    mode = "0750";
    user = "rigappliance";
    group = "rigappliance";
  };
  # What lies between the state directory and the checkpoint; root would own it otherwise.
  between =
    path:
    if path == settings.state_dir || !isBelow settings.state_dir path then
      [ ]
    else
      between (dirOf path) ++ [ path ];
in
{
  options.services.rigappliance.openFirewall = lib.mkOption {
    type = lib.types.bool;
    default = false;
    description = "Whether to open the API's port, `settings.server.port`, in the firewall.";
  };

  config = lib.mkIf cfg.enable {
    systemd.targets.rigappliance = unit "target";

    systemd.services.rigappliance = lib.mkMerge [
      (unit "engine")
      {
        # A restart takes three quarters of an hour, and a switch would wait for it. The switch says
        # that the unit has changed; the operator chooses the moment:
        # `systemctl restart --no-block rigappliance`.
        restartIfChanged = lib.mkDefault false;
        # In one step, so that the old engine serves until the new configuration is in place.
        stopIfChanged = lib.mkDefault false;
      }
    ];

    users.users.rigappliance = {
      isSystemUser = true;
      group = "rigappliance";
      home = settings.state_dir;
      description = "vLLM of rigappliance";
    };
    users.groups.rigappliance = { };

    systemd.tmpfiles.settings.rigappliance =
      lib.genAttrs ([ settings.state_dir ] ++ between settings.model.path)
        (_: {
          d = owned;
        });

    networking.firewall.allowedTCPPorts = lib.mkIf cfg.openFirewall [ settings.server.port ];

    services.rigappliance.ports."the API (settings.server.port)" = settings.server.port;
  };
}

# The service that a table of rigappliance/render/units describes, for this configuration.
{ config, lib }:
table:
let
  cfg = config.services.rigappliance;
in
import ../../nix/units.nix {
  inherit lib;
  table = ../../rigappliance/render/units + "/${table}.toml";
  variables = import ./variables.nix {
    inherit lib;
    inherit (cfg) settings;
    configFile = "${cfg.configFile}";
    program = lib.getExe' cfg.package "rigappliance";
    systemctl = "${config.systemd.package}/bin/systemctl";
    needs =
      lib.optional cfg.swap.enable "rigappliance-swap.service"
      ++ lib.optional cfg.weights.enable "rigappliance-weights.service"
      ++ lib.optional cfg.gpu.enable "rigappliance-gpu.service";
  };
}

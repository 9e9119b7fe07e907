# Prometheus on the rig itself, with the exporters for the host and the cards.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;

  cfg = config.services.rigappliance;
  inherit (cfg) monitoring;
  inherit (cfg.settings) server;
  inherit (config.services.prometheus) exporters;

  # What listens on all addresses is asked here.
  host =
    {
      "0.0.0.0" = "127.0.0.1";
      "::" = "::1";
    }
    .${server.host} or server.host;
  bracketed = if lib.hasInfix ":" host then "[${host}]" else host;

  job = name: target: {
    job_name = name;
    scrape_interval = monitoring.scrapeInterval;
    static_configs = [ { targets = [ target ]; } ];
  };
  local = exporter: "127.0.0.1:${toString exporter.port}";

  listenAddress = lib.mkDefault (if monitoring.openFirewall then "0.0.0.0" else "127.0.0.1");
  exporter = {
    inherit listenAddress;
    enable = true;
    openFirewall = lib.mkDefault monitoring.openFirewall;
  };
in
{
  options.services.rigappliance.monitoring = {
    enable = lib.mkEnableOption "Prometheus with the engine's, the host's and the cards' figures";
    scrapeInterval = mkOption {
      type = types.strMatching "[1-9][0-9]*(s|m)";
      default = "30s";
      description = "Time between two readings. Each costs a little of two cores that are busy.";
    };
    retention = mkOption {
      type = types.strMatching "[1-9][0-9]*(h|d|w|y)";
      default = "30d";
      description = "How long readings are kept.";
    };
    openFirewall = mkOption {
      type = types.bool;
      default = false;
      description = ''
        Whether other machines reach Prometheus and the exporters. They ask for no password.
      '';
    };
  };

  config = lib.mkIf (cfg.enable && monitoring.enable) {
    services.prometheus = {
      inherit listenAddress;
      enable = true;
      retentionTime = lib.mkDefault monitoring.retention;
      scrapeConfigs = [
        # vLLM asks for no key there.
        (job "rigappliance" "${bracketed}:${toString server.port}")
        (job "node" (local exporters.node))
      ]
      ++ lib.optional cfg.gpu.enable (job "nvidia-gpu" (local exporters.nvidia-gpu));

      exporters.node = exporter // {
        enabledCollectors = [ "systemd" ];
      };
      exporters.nvidia-gpu = lib.mkIf cfg.gpu.enable exporter;
    };

    networking.firewall.allowedTCPPorts = lib.mkIf monitoring.openFirewall [
      (config.services.prometheus.port or 9090)
    ];
  };
}

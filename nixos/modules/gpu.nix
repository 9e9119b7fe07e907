# The cards: driver, CUDA's device nodes, limits of power and temperature. No X.
#
# Fans stay under the cards' own control: a fan that a program sets keeps its speed when that
# program hangs or swaps, and the card behind it burns. A lower target temperature makes the card
# itself blow harder and clock down.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;

  cfg = config.services.rigappliance;
  inherit (cfg) gpu settings;
  driver = config.hardware.nvidia.package;
  isCuda = import ../../nix/unfree.nix { inherit lib; };
  indexes = lib.range 0 (settings.hardware.cards - 1);

  limits =
    common:
    let
      default = name: common.${name} or null;
      defaultText = lib.literalMD (
        if common == { } then "the card's own" else "that of all cards, or else the card's own"
      );
    in
    {
      powerLimitWatts = mkOption {
        type = types.nullOr types.int;
        default = default "powerLimitWatts";
        inherit defaultText;
        description = ''
          Most power that a card may draw, in watts. Generation waits for memory and PCIe, so that a
          card gives up little speed for much heat.
        '';
      };
      targetTemperatureCelsius = mkOption {
        type = types.nullOr (types.ints.between 40 95);
        default = default "targetTemperatureCelsius";
        inherit defaultText;
        description = "Degrees Celsius that a card keeps to with its fans and clocks.";
      };
    };

  # The lines of the script for one card.
  commands =
    index:
    let
      card = gpu.cards.${toString index} or gpu;
      given = value: lib.optional (value != null) (toString value);
      limit =
        what: option: value:
        "limit ${toString index} '${what} ${value}' ${option}=${value}";
    in
    map (limit "power in W" "--power-limit") (given card.powerLimitWatts)
    ++ map (limit "temperature in °C" "--gpu-target-temp") (given card.targetTemperatureCelsius);
in
{
  options.services.rigappliance.gpu = limits { } // {
    # Off by default: what is unfree must be known before the settings can be read, whose type needs
    # the packages.
    enable = lib.mkEnableOption "NVIDIA's driver and the limits of the cards";
    driverPackage = mkOption {
      type = types.nullOr types.package;
      default = null;
      example = lib.literalExpression "config.boot.kernelPackages.nvidiaPackages.production";
      description = "The driver, 580 or newer; null is NixOS's own choice.";
    };
    open = mkOption {
      type = types.bool;
      default = true;
      description = ''
        Whether to use the driver's open kernel modules. All cards that can run the model have them.
      '';
    };
    allowUnfree = mkOption {
      type = types.bool;
      default = true;
      description = ''
        Whether to allow NVIDIA's driver and CUDA, and nothing else that is unfree. Off where
        `nixpkgs.pkgs` is set, which then has to allow them.
      '';
    };
    cards = mkOption {
      type = types.attrsOf (types.submodule { options = limits gpu; });
      default = { };
      example = {
        "3".powerLimitWatts = 100;
      };
      description = "Limits of single cards, by the index that nvidia-smi shows.";
    };
  };

  config = lib.mkIf (cfg.enable && gpu.enable) {
    hardware.graphics.enable = true;
    hardware.nvidia = {
      inherit (gpu) open;
      package = lib.mkIf (gpu.driverPackage != null) gpu.driverPackage;
      # A card that nobody uses is put to sleep, forgets its limits, and takes seconds to wake.
      nvidiaPersistenced = true;
      # No display hangs on a card; a console would take some of the first one's memory.
      modesetting.enable = lib.mkDefault false;
      nvidiaSettings = lib.mkDefault false;
    };
    # Chooses the driver for the kernel too; X itself stays off.
    services.xserver.videoDrivers = [ "nvidia" ];

    # CUDA would load it through a setuid helper, which the service's NoNewPrivileges forbids.
    boot.kernelModules = [ "nvidia_uvm" ];
    boot.blacklistedKernelModules = [ "nouveau" ];

    nixpkgs = lib.mkIf gpu.allowUnfree {
      config.allowUnfreePredicate =
        package: lib.hasPrefix "nvidia-" (lib.getName package) || isCuda package;
    };

    systemd.services.rigappliance-gpu = {
      description = "Limits of the cards";
      wantedBy = [ "rigappliance.target" ];
      partOf = [ "rigappliance.target" ];
      wants = [ "nvidia-persistenced.service" ];
      after = [ "nvidia-persistenced.service" ];
      path = [ (lib.getBin driver) ];
      # A card that refuses leaves the others limited, and the unit failed: it is to be seen, and is
      # no reason not to serve.
      script = ''
        failed=0
        limit() {
          local card=$1 what=$2 said
          shift 2
          # Where a card does not know the option at all, nvidia-smi says so and exits with 0.
          if said=$(nvidia-smi --id="$card" "$@" 2>&1) && [[ $said != *"not supported"* ]]; then
            echo "card $card: $what is set"
          else
            echo "card $card: $what was refused: ''${said//$'\n'/ }; expected: a value that it" \
              "takes; to do: look at nvidia-smi --query --id=$card and set" \
              "services.rigappliance.gpu.cards.\"$card\"." >&2
            failed=1
          fi
        }
        ${lib.concatStringsSep "\n" (lib.concatMap commands indexes)}
        nvidia-smi --query-gpu=index,name,pci.bus_id,power.limit --format=csv || failed=1
        exit "$failed"
      '';
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        # Eight cards on risers take their time to wake up.
        TimeoutStartSec = "5min";

        # No PrivateDevices and CAP_SYS_ADMIN: the driver asks for both.
        CapabilityBoundingSet = "CAP_SYS_ADMIN";
        NoNewPrivileges = true;
        ProtectSystem = "strict";
        ProtectHome = true;
        PrivateTmp = true;
        PrivateNetwork = true;
        ProtectClock = true;
        ProtectControlGroups = true;
        ProtectHostname = true;
        ProtectKernelLogs = true;
        RestrictAddressFamilies = "AF_UNIX";
        RestrictNamespaces = true;
        RestrictRealtime = true;
        RestrictSUIDSGID = true;
        LockPersonality = true;
        SystemCallArchitectures = "native";
      };
    };
  };
}

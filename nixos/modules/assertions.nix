# What contradicts itself, said while the system is evaluated.
#
# What can be told from the settings alone is told by the package when it checks the configuration
# file: whether the swap is enough for the ranks (its figures are in
# rigappliance/preflight/memory.py), and every setting that has no option here.
{ config, lib, ... }:
let
  inherit (lib) types;
  inherit (import ./lib.nix { inherit lib; })
    bytes
    fileSystemOf
    isBelow
    isLoopback
    memoryLimitBytes
    message
    ;

  cfg = config.services.rigappliance;
  inherit (cfg) gpu settings swap;
  inherit (settings)
    engine
    hardware
    memory
    server
    ;

  onCards = engine.device == "cuda";
  ranks = engine.tensor_parallel * engine.pipeline_parallel;
  utilization = engine.gpu_memory_utilization;
  cards = toString hardware.cards;

  # What no kernel swaps on, or what forgets the file.
  withoutSwap = volatile ++ [
    "9p"
    "bcachefs"
    "ceph"
    "cifs"
    "exfat"
    "nfs"
    "nfs4"
    "ntfs"
    "ntfs3"
    "overlay"
    "smb3"
    "squashfs"
    "vfat"
    "virtiofs"
    "zfs"
  ];
  volatile = [
    "ramfs"
    "tmpfs"
  ];
  # Where no file system is declared, the package looks at what is there.
  kindOf =
    path:
    let
      mount = fileSystemOf config.fileSystems path;
    in
    if mount == null then "auto" else mount.fsType;
  isOn = kinds: path: lib.elem (kindOf path) kinds || lib.hasPrefix "fuse" (kindOf path);

  driver = lib.getVersion config.hardware.nvidia.package;
  minimumDriver = "580";
  # Releases from before NVIDIA's production branch have no such driver at all: there these modules
  # can be evaluated, and not used.
  driverIsChosen =
    gpu.driverPackage != null || config.boot.kernelPackages.nvidiaPackages ? production;

  isCard =
    index: builtins.match "0|[1-9][0-9]?" index != null && lib.toIntBase10 index < hardware.cards;
  strangers = lib.filter (index: !isCard index) (lib.attrNames gpu.cards);

  powerLimits = {
    gpu = gpu.powerLimitWatts;
  }
  // lib.mapAttrs' (
    index: card: lib.nameValuePair ''gpu.cards."${index}"'' card.powerLimitWatts
  ) gpu.cards;

  # By name: in the set of all exporters there are some that only tell that they were removed.
  exporters = lib.filterAttrs (_: exporter: exporter.enable or false) (
    lib.genAttrs [
      "blackbox"
      "node"
      "nvidia-gpu"
      "process"
      "smartctl"
      "systemd"
    ] (name: config.services.prometheus.exporters.${name} or { })
  );
  users = port: lib.attrNames (lib.filterAttrs (_: other: other == port) cfg.ports);
  shared = lib.filter (port: lib.length (users port) > 1) (lib.unique (lib.attrValues cfg.ports));

  # `when` holds where something is wrong; the rest is the message.
  mistakes = [
    {
      when = onCards && ranks > hardware.cards;
      found = ''
        settings.engine.tensor_parallel ${toString engine.tensor_parallel} × pipeline_parallel
        ${toString engine.pipeline_parallel} makes ${toString ranks} ranks, and
        settings.hardware.cards is ${cards}
      '';
      expected = "at most one rank a card";
      remedy = ''
        lower one of the first two, or set settings.hardware.cards to the cards that the machine has
      '';
    }
    {
      when = utilization <= 0 || utilization > 1;
      found = "settings.engine.gpu_memory_utilization is ${builtins.toJSON utilization}";
      expected = "a number above 0 and up to 1";
      remedy = "set it to 0.85, with which the reference rig runs";
    }
    {
      when = memoryLimitBytes memory.max (bytes hardware.ram) > bytes hardware.ram;
      found = ''
        settings.memory.max ${memory.max} is more than settings.hardware.ram ${hardware.ram}, so
        that it limits nothing
      '';
      expected = "a share such as 90%, or a size below the RAM";
      remedy = ''
        lower settings.memory.max, or set settings.hardware.ram to what the machine has
      '';
    }
    {
      when = server.api_key_file == null && !isLoopback server.host;
      found = ''
        settings.server.host ${server.host} is reachable from other machines, and
        settings.server.api_key_file is not set
      '';
      expected = "a key, or a loopback address";
      remedy = ''
        write a key to a file on the machine and set settings.server.api_key_file, or set
        settings.server.host to 127.0.0.1
      '';
    }
    {
      when = server.api_key_file != null && isBelow builtins.storeDir server.api_key_file;
      found = ''
        settings.server.api_key_file is in the Nix store, where everyone on the machine can read it
      '';
      expected = "a path outside of ${builtins.storeDir}";
      remedy = "put the key into a file of root's on the machine, and name that as a string";
    }
    {
      when = isBelow builtins.storeDir settings.state_dir;
      found = "settings.state_dir is in the Nix store, which cannot be written";
      expected = "a path outside of ${builtins.storeDir}";
      remedy = "set it to /var/lib/rigappliance";
    }
    {
      when = isOn volatile settings.state_dir;
      found = ''
        settings.state_dir ${settings.state_dir} is on ${kindOf settings.state_dir}, which forgets
      '';
      expected = "a file system on a disk";
      remedy = "mount one there, or set settings.state_dir to a directory on one";
    }
    {
      when = swap.enable && bytes memory.swap == 0;
      found = ''
        services.rigappliance.swap.enable is set, and settings.memory.swap is ${memory.swap}
      '';
      expected = "a size above 0";
      remedy = "set services.rigappliance.swap.size, or swap.enable to false";
    }
    {
      when = swap.enable && isOn withoutSwap memory.swap_file;
      found = ''
        settings.memory.swap_file ${memory.swap_file} is on ${kindOf memory.swap_file}, on which the
        kernel cannot swap
      '';
      expected = "a file system on a disk of this machine: ext4, xfs or btrfs";
      remedy = "set services.rigappliance.swap.path to a place on one";
    }
    {
      when = swap.enable && lib.any (other: other.device == memory.swap_file) config.swapDevices;
      found = "${memory.swap_file} is settings.memory.swap_file, and in swapDevices too";
      expected = "one of them to make the file: NixOS would write it anew";
      remedy = "remove it from swapDevices, or set services.rigappliance.swap.enable to false";
    }
    {
      when = swap.zswap.enable && !swap.enable;
      found = "services.rigappliance.swap.zswap.enable is set, and swap.enable is not";
      expected = "a swap file behind the compressed pages";
      remedy = "set services.rigappliance.swap.enable, or zswap.enable to false";
    }
    {
      when = swap.zswap.enable && config.zramSwap.enable;
      found = "services.rigappliance.swap.zswap.enable and zramSwap.enable are both set";
      expected = "one of them: together they compress pages twice";
      remedy = "set one of them to false";
    }
    {
      when = gpu.enable && driverIsChosen && lib.versionOlder driver minimumDriver;
      found = "NVIDIA's driver is ${driver}";
      expected = "${minimumDriver} or newer, which the engine's CUDA 13 needs";
      remedy = ''
        set services.rigappliance.gpu.driverPackage to a newer one of
        config.boot.kernelPackages.nvidiaPackages
      '';
    }
    {
      when = gpu.enable && onCards && hardware.cards == 0;
      found = "services.rigappliance.gpu.enable is set, and settings.hardware.cards is 0";
      expected = "the number of cards in the machine";
      remedy = "set settings.hardware.cards, or settings.engine.device to cpu";
    }
    {
      when = strangers != [ ];
      found = ''
        services.rigappliance.gpu.cards has ${lib.concatStringsSep ", " strangers}, and
        settings.hardware.cards is ${cards}
      '';
      expected = "indexes below ${cards}, as nvidia-smi shows them";
      remedy = "correct them, or set settings.hardware.cards to the cards that the machine has";
    }
  ]
  ++ lib.mapAttrsToList (name: watts: {
    when = watts != null && watts <= 0;
    found = "services.rigappliance.${name}.powerLimitWatts is ${toString watts}";
    expected = "watts above 0";
    remedy = "set it between the least and the most that nvidia-smi --query shows, or to null";
  }) powerLimits
  ++ map (port: {
    when = true;
    found = "port ${toString port} is used by ${lib.concatStringsSep " and by " (users port)}";
    expected = "one user a port";
    remedy = "give one of them another port";
  }) shared;

  doubts = [
    {
      when = utilization >= 0.9 && utilization <= 1;
      found = "settings.engine.gpu_memory_utilization is ${builtins.toJSON utilization}";
      expected = "less than 0.9, at which the reference rig died when all weights were loaded";
      remedy = "set it to 0.85";
    }
    {
      when = cfg.openFirewall && isLoopback server.host;
      found = ''
        services.rigappliance.openFirewall is set, and settings.server.host ${server.host} is
        reachable from this machine alone
      '';
      expected = "an address that other machines reach";
      remedy = ''
        set settings.server.host to 0.0.0.0 and settings.server.api_key_file to a key's file, or
        openFirewall to false
      '';
    }
    {
      when = gpu.enable && !onCards;
      found = "services.rigappliance.gpu.enable is set, and settings.engine.device is cpu";
      expected = "an engine that uses the cards";
      remedy = "set settings.engine.device to cuda, or gpu.enable to false";
    }
    {
      when = onCards && !gpu.enable && !lib.elem "nvidia" config.services.xserver.videoDrivers;
      found = "settings.engine.device is cuda, and nothing installs NVIDIA's driver";
      expected = "services.rigappliance.gpu.enable, or a driver that is set up elsewhere";
      remedy = "set services.rigappliance.gpu.enable";
    }
    {
      when = onCards && !cfg.toolchain.enable;
      found = ''
        settings.engine.device is cuda, and services.rigappliance.toolchain.enable is not set
      '';
      expected = "a compiler and headers for the kernels that are made at run time";
      remedy = "set services.rigappliance.toolchain.enable";
    }
  ];
in
{
  options.services.rigappliance.ports = lib.mkOption {
    type = types.attrsOf types.port;
    default = { };
    example = {
      "my own server" = 8080;
    };
    description = ''
      TCP ports in use on this machine, by who uses them; two users of one port are refused. Those
      of the appliance, of ssh, of Prometheus and of its usual exporters are in it by themselves.
    '';
  };

  config = lib.mkIf cfg.enable {
    services.rigappliance.ports = lib.mkMerge [
      (lib.mkIf config.services.openssh.enable (
        lib.listToAttrs (
          lib.imap1 (
            nth: lib.nameValuePair "ssh (services.openssh.ports, number ${toString nth})"
          ) config.services.openssh.ports
        )
      ))
      (lib.mkIf config.services.prometheus.enable {
        "Prometheus (services.prometheus.port)" = config.services.prometheus.port or 9090;
      })
      (lib.mapAttrs' (
        name: exporter: lib.nameValuePair "services.prometheus.exporters.${name}" exporter.port
      ) exporters)
    ];

    assertions = map (mistake: {
      assertion = !mistake.when;
      message = message mistake;
    }) mistakes;
    warnings = map message (lib.filter (doubt: doubt.when) doubts);
  };
}

# The swap file, made and enabled by the package.
#
# Not by `swapDevices`: that writes the file before swap.target, which holds up the boot of a rig
# with a hard disk by twenty minutes, and writes all of it again when its size changes.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  inherit (import ./lib.nix { inherit lib; }) ofProfile types';

  cfg = config.services.rigappliance;
  inherit (cfg) settings swap;
  swapOfProfile = ofProfile settings.profile "memory.swap";

  # An option that feeds a setting, which is what the program reads.
  feeding =
    setting: type: description:
    mkOption (
      {
        inherit type;
        description = "${lib.removeSuffix "\n" description} Sets `settings.memory.${setting}`.";
      }
      // ofProfile settings.profile "memory.${setting}"
    );

  # The kernel's own names, below /sys/module/zswap/parameters.
  zswap = {
    compressor = swap.zswap.compressor;
    max_pool_percent = toString swap.zswap.maxPoolPercent;
    shrinker_enabled = "Y";
    enabled = "Y";
  };
in
{
  options.services.rigappliance.swap = {
    enable = mkOption {
      type = types.bool;
      default = swapOfProfile.default != "0B";
      defaultText = lib.literalMD "true for the profile `rig`";
      description = ''
        Whether to make and enable the swap file. Without it `settings.memory.swap` is 0B; set that
        where other swap is there.
      '';
    };
    size = feeding "swap" types'.size "Size of the file.";
    path = feeding "swap_file" types'.path "The file.";
    priority = feeding "swap_priority" (types.ints.between 0 32767) ''
      Priority against other swap areas; the highest is used first.
    '';
    swappiness = feeding "swappiness" (types.ints.between 0 200) ''
      `vm.swappiness`. Low: on a hard disk a page of the checkpoint comes back in a sequential
      read, a swapped page with a seek.
    '';
    pageCluster = feeding "page_cluster" (types.ints.between 0 10) ''
      `vm.page-cluster`: 2 to this power pages come back from swap in one read.
    '';
    zswap = {
      enable = lib.mkEnableOption "compressed swap in RAM in front of the file";
      compressor = mkOption {
        type = types.enum [
          "zstd"
          "lz4"
          "lzo"
        ];
        default = "lz4";
        description = ''
          How pages are compressed. lz4 costs the least of two cores that are busy as they are; zstd
          makes the pool hold more.
        '';
      };
      maxPoolPercent = mkOption {
        type = types.ints.between 1 50;
        default = 10;
        description = ''
          Share of the RAM that compressed pages may take. Small: what it takes is missing for the
          pages that are in use.
        '';
      };
    };
  };

  config = lib.mkIf cfg.enable (
    lib.mkMerge [
      {
        services.rigappliance.settings.memory = {
          swap = lib.mkDefault (if swap.enable then swap.size else "0B");
          swap_file = lib.mkDefault swap.path;
          swap_priority = lib.mkDefault swap.priority;
          swappiness = lib.mkDefault swap.swappiness;
          page_cluster = lib.mkDefault swap.pageCluster;
        };
      }

      (lib.mkIf swap.enable {
        systemd.services.rigappliance-swap = lib.mkMerge [
          (import ./unit.nix { inherit config lib; } "swap")
          {
            # mkswap, swapon and swapoff. The package had another name before NixOS 21.05.
            path = [ (pkgs.util-linux or pkgs.utillinux) ];
            # `swap off` reads everything back from the disk while the engine runs; `swap on` may
            # write for twenty minutes while a switch waits.
            restartIfChanged = false;
            stopIfChanged = false;
          }
        ];

        boot.kernel.sysctl = {
          "vm.swappiness" = lib.mkDefault settings.memory.swappiness;
          "vm.page-cluster" = lib.mkDefault settings.memory.page_cluster;
        };
      })

      (lib.mkIf (swap.enable && swap.zswap.enable) {
        # Not by `boot.zswap`, which insists on `swapDevices`.
        systemd.tmpfiles.settings.rigappliance-zswap = lib.mapAttrs' (
          name: argument:
          lib.nameValuePair "/sys/module/zswap/parameters/${name}" { w = { inherit argument; }; }
        ) zswap;
      })
    ]
  );
}

# One hard disk with two file systems, found by their labels wherever the disk is plugged in:
#   mkfs.fat -F 32 -n BOOT, and mkfs.ext4 -L rig
{
  boot.loader.systemd-boot = {
    enable = true;
    # A generation that boots is worth more than twenty kernels on a small partition.
    configurationLimit = 8;
    # Otherwise whoever is at the console adds init=/bin/sh and is root.
    editor = false;
  };
  boot.loader.efi.canTouchEfiVariables = true;
  # Somebody may be waiting for a rig to come back.
  boot.loader.timeout = 3;

  boot.initrd.availableKernelModules = [
    "ahci"
    "nvme"
    "sd_mod"
    "usb_storage"
    "usbhid"
    "xhci_pci"
  ];

  fileSystems."/" = {
    device = "/dev/disk/by-label/rig";
    fsType = "ext4";
    # A read of the checkpoint should not be a write too.
    options = [ "noatime" ];
  };
  fileSystems."/boot" = {
    device = "/dev/disk/by-label/BOOT";
    fsType = "vfat";
    # The file system has no modes of its own, and the boot loader's random seed is a secret.
    options = [ "umask=0077" ];
  };
}

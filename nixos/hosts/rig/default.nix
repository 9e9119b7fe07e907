# The reference rig. Rigs of its kind differ by a name and the keys that may log in, and by nothing
# else: templates/rig makes twenty of them.
{ lib, ... }:
{
  imports = [
    ../../profiles/rig.nix
    ../../profiles/hardened.nix
    ./disk.nix
    ./journal.nix
    ./nix.nix
  ];

  nixpkgs.hostPlatform = "x86_64-linux";

  networking.hostName = lib.mkDefault "rig";
  networking.useDHCP = lib.mkDefault true;

  time.timeZone = lib.mkDefault "UTC";
  services.timesyncd.enable = lib.mkDefault true;

  # Firmware of the network chips on such boards, and the processor's microcode.
  hardware.enableRedistributableFirmware = lib.mkDefault true;
  hardware.cpu.intel.updateMicrocode = lib.mkDefault true;

  users.users.operator = {
    isNormalUser = true;
    description = "Administers the rig";
    extraGroups = [
      "wheel"
      # May read the engine's state, logs and history, ...
      "rigappliance"
      # ... and all journals.
      "systemd-journal"
    ];
  };

  system.stateVersion = "26.05";
}

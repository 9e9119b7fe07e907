# A machine that is reached by ssh with a key, and in no other way. Its console asks for a password
# that nobody has: who stands before it boots from a stick.
{ config, lib, ... }:
let
  inherit (lib) mkDefault;

  # The users whom a key lets in; see `warnings`.
  withKey = lib.filterAttrs (
    _: user: user.openssh.authorizedKeys.keys != [ ] || user.openssh.authorizedKeys.keyFiles != [ ]
  ) config.users.users;
  administrators = lib.filterAttrs (_: user: lib.elem "wheel" user.extraGroups) withKey;
in
{
  services.openssh = {
    enable = mkDefault true;
    settings = {
      PasswordAuthentication = mkDefault false;
      KbdInteractiveAuthentication = mkDefault false;
      # Administrators are people with names, and sudo's journal has them.
      PermitRootLogin = mkDefault "no";
      X11Forwarding = mkDefault false;
    };
  };

  # Users and passwords are what is declared here. Without a key the installer's root password is
  # the only way in, and stays.
  users.mutableUsers = mkDefault (administrators == { });
  warnings = lib.optional (administrators == { }) (
    "rigappliance: no user of the group wheel has an ssh key; expected: an administrator who has;"
    + " to do: set users.users.<name>.openssh.authorizedKeys.keys."
  );

  security.sudo = {
    enable = mkDefault true;
    # Administrators come in by their keys and have no password to type.
    wheelNeedsPassword = mkDefault false;
  };

  # Whom the daemon trusts is as good as root, which administrators are by sudo anyhow: so they can
  # copy to the rig what was built elsewhere (`nixos-rebuild --target-host`).
  nix.settings.allowed-users = mkDefault [ "@wheel" ];
  nix.settings.trusted-users = mkDefault [
    "root"
    "@wheel"
  ];

  networking.firewall = {
    enable = mkDefault true;
    # Refused packets of a network full of scanners are no news, and the disk has better to do.
    logRefusedConnections = mkDefault false;
  };

  # What a server without a screen does not need.
  programs.command-not-found.enable = mkDefault false;
  services.udisks2.enable = mkDefault false;
  xdg.icons.enable = mkDefault false;
  xdg.mime.enable = mkDefault false;
  xdg.sounds.enable = mkDefault false;
  documentation.enable = mkDefault false;

  # The kernel's log tells addresses that make an exploit of a bug.
  boot.kernel.sysctl."kernel.dmesg_restrict" = mkDefault 1;
}

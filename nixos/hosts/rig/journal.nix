# The engine is chatty while it starts: eight ranks, progress lines, warnings of each of them.
{ lib, options, ... }:
let
  limits = {
    # Weeks of starts, and never a share of the disk that the swap file and the checkpoint need.
    SystemMaxUse = "1G";
    SystemMaxFileSize = "64M";
    # Eight ranks at once say more than 10000 lines in 30 s only when something is badly wrong, and
    # then those lines are the ones that are wanted.
    RateLimitIntervalSec = "30s";
    RateLimitBurst = 50000;
    # A hard disk that is busy swapping: not more often than it must.
    SyncIntervalSec = "10m";
  };
in
{
  # NixOS 26.11 has `settings` and refuses `extraConfig`; 26.05 is the other way round.
  services.journald =
    if options.services.journald ? settings then
      { settings.Journal = limits; }
    else
      { extraConfig = lib.generators.toKeyValue { } limits; };
}

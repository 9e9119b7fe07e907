# The swap file: made at the first boot, found again after a power cut, never made twice.
{ lib, ... }:
{
  name = "rigappliance-swap";

  nodes.machine = {
    services.rigappliance = {
      enable = true;
      settings = lib.importJSON ./swap.json;
      swap.enable = true;
      toolchain.enable = false;
    };
    virtualisation.memorySize = 1024;
    virtualisation.diskSize = 2048;
  };

  testScript = builtins.readFile ./swap.py;
}

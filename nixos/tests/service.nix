# The unit's own decisions on a machine without an engine: what it needs, how it fails and why.
{ lib, ... }:
{
  name = "rigappliance-service";

  nodes.machine = {
    services.rigappliance = {
      enable = true;
      settings = lib.importJSON ./service.json;
      toolchain.enable = false;
    };
    virtualisation.memorySize = 1024;
  };

  testScript = builtins.readFile ./service.py;
}

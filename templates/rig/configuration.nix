# What all rigs have in common, and where it differs from the reference rig: 2 cores, 16 GB, eight
# cards of 12 GB on PCIe x1, one hard disk with file systems labelled `rig` and `BOOT`.
# Every option with its meaning: docs/options.md of the appliance.
{
  time.timeZone = "UTC";

  services.rigappliance = {
    settings = {
      # The cards, and as many ranks.
      hardware.cards = 8;
      hardware.card_memory = "12GB";
      hardware.ram = "16GB";
      engine.tensor_parallel = 8;

      # To be reached by other machines, the API needs a key, which lies on the rig alone:
      #   server.host = "0.0.0.0";
      #   server.api_key_file = "/etc/rigappliance/api-key";
    };
    # openFirewall = true;

    # Downloads the checkpoint once the network is there: 77 GB.
    weights.enable = true;
    swap.enable = true;
  };

  # Cards on risers share one power supply.
  # services.rigappliance.gpu.powerLimitWatts = 120;
}

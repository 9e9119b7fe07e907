# The reference rig: a mining board with eight cards, and what was learnt on it. Each number can be
# overridden by a plain definition.
{ lib, ... }:
let
  inherit (lib) mkDefault;
in
{
  services.rigappliance = {
    enable = mkDefault true;

    settings = {
      model = {
        name = mkDefault "Qwen/Qwen2.5-72B-Instruct-GPTQ-Int8";
        # Qwen2.5 is native to vLLM: no code of the checkpoint needs to run.
        trust_remote_code = mkDefault false;
      };

      engine = {
        # A card each: 77 GB of weights are 9 GB a card. The checkpoint's padding allows for 8.
        tensor_parallel = mkDefault 8;
        pipeline_parallel = mkDefault 1;
        # At 0.90 the engine sized its KV cache past what was left, and died when all was loaded.
        gpu_memory_utilization = mkDefault 0.85;
        # The KV cache that is left holds about five prompts of this length.
        max_model_len = mkDefault 4096;
        max_num_seqs = mkDefault 32;
      };

      server.port = mkDefault 8000;

      memory = {
        # The kernel swaps the engine out at this limit, and keeps the rest for ssh and itself.
        max = mkDefault "90%";
      };

      hardware = {
        cards = mkDefault 8;
        card_memory = mkDefault "12GB";
        ram = mkDefault "16GB";
      };
    };

    swap = {
      # 11 to 15 GB of it are in use while the engine runs. Mapping a shard needs room too, and a
      # checkpoint of 77 GB is five times the RAM.
      size = mkDefault "128GiB";
      # A hard disk: the checkpoint comes back in a sequential read, a swapped page with a seek.
      swappiness = mkDefault 10;
      # One seek brings 64 KiB back in hardly more time than 4.
      pageCluster = mkDefault 4;
    };

    gpu = {
      enable = mkDefault true;
      open = mkDefault true;
    };

    # Kernels are made while the engine starts; missing headers showed as "JIT failed".
    toolchain.enable = mkDefault true;
  };

  # It takes heavy swapping for sickness, which here is how a start looks, and would end the engine.
  systemd.oomd.enable = mkDefault false;

  # In RAM it would take what the engine needs.
  boot.tmp.useTmpfs = mkDefault false;
  boot.tmp.cleanOnBoot = mkDefault true;
}

# What the typed settings are where nothing is declared, by profile: the values of
# rigappliance/config.py and rigappliance/profiles, which a test holds these against. Only the
# demo's paths differ: there they are relative to a working directory, which a service has not.
let
  rig = {
    state_dir = "/var/lib/rigappliance";
    model = {
      path = "/var/lib/rigappliance/models/Qwen2.5-72B-Instruct-GPTQ-Int8";
      name = "Qwen/Qwen2.5-72B-Instruct-GPTQ-Int8";
      repository = "Qwen/Qwen2.5-72B-Instruct-GPTQ-Int8";
      revision = "main";
    };
    engine = {
      device = "cuda";
      tensor_parallel = 8;
      pipeline_parallel = 1;
      gpu_memory_utilization = 0.85;
    };
    server = {
      host = "127.0.0.1";
      port = 8000;
      api_key_file = null;
    };
    memory = {
      max = "90%";
      swap = "128GiB";
      swap_file = "/var/lib/rigappliance.swap";
      swap_priority = 10;
      swappiness = 10;
      page_cluster = 4;
    };
    hardware = {
      cards = 8;
      card_memory = "12GB";
      ram = "16GB";
    };
  };
in
{
  inherit rig;
  demo = rig // {
    model = rig.model // {
      path = "/var/lib/rigappliance/checkpoint";
      name = "tiny-qwen2";
    };
    engine = rig.engine // {
      device = "cpu";
      tensor_parallel = 1;
    };
    memory = rig.memory // {
      swap = "0B";
    };
    hardware = rig.hardware // {
      cards = 0;
      ram = "4GB";
    };
  };
}

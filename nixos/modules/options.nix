# What an operator declares, and the file that the package has checked.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  inherit (import ./lib.nix { inherit lib; }) message ofProfile types';

  cfg = config.services.rigappliance;
  defaults = import ./defaults.nix;
  json = pkgs.formats.json { };
  rendered = json.generate "rig.json" cfg.settings;

  unset =
    option:
    throw (message {
      found = "${option} is not set";
      expected = "a package";
      remedy = "import nixosModules.default of the flake, which sets it, or set it";
    });

  settings =
    { config, ... }:
    let
      # A setting that another part of NixOS needs as well. Its default is that of the profile.
      typed =
        path: type: description:
        mkOption ({ inherit type description; } // ofProfile config.profile path);
    in
    {
      freeformType = json.type;

      options = {
        profile = mkOption {
          type = types.enum (lib.attrNames defaults);
          default = "rig";
          description = ''
            Where unset values come from: `rig`, the 8-card mining rig, or `demo`, a tiny model on
            the CPU.
          '';
        };
        state_dir = typed "state_dir" types'.path ''
          Directory for state, history, logs and the engine's caches.
        '';
        model = {
          path = typed "model.path" types'.path "Directory of the checkpoint.";
          name = typed "model.name" types.singleLineStr ''
            Name under which the API serves the model.
          '';
          repository = typed "model.repository" types.singleLineStr ''
            Where the checkpoint is downloaded from: owner/name on the Hugging Face Hub.
          '';
          revision = typed "model.revision" types.singleLineStr ''
            Branch, tag or commit of it; a commit makes every rig's checkpoint the same for ever.
          '';
        };
        engine = {
          python = mkOption {
            type = types'.path;
            default = "${cfg.enginePackage}/bin/python";
            defaultText = lib.literalMD "that of `enginePackage`";
            description = "Interpreter of the environment in which vLLM is installed.";
          };
          device =
            typed "engine.device"
              (types.enum [
                "cuda"
                "cpu"
              ])
              ''
                What the engine computes on.
              '';
          tensor_parallel = typed "engine.tensor_parallel" types.ints.positive ''
            Ranks that share each layer (TP).
          '';
          pipeline_parallel = typed "engine.pipeline_parallel" types.ints.positive ''
            Stages that share the layers (PP).
          '';
          gpu_memory_utilization = typed "engine.gpu_memory_utilization" types.number ''
            Share of each card's memory that the engine may plan with, above 0 and up to 1.
          '';
        };
        server = {
          host = typed "server.host" types.singleLineStr "Address that the API listens on.";
          port = typed "server.port" types.port "TCP port of the API.";
          api_key_file = typed "server.api_key_file" (types.nullOr types'.path) ''
            File that holds the API key, outside of the Nix store. systemd reads it as root and
            hands it on as a credential.
          '';
        };
        memory = {
          max = typed "memory.max" types'.memoryLimit ''
            MemoryMax of the service: a share of the RAM or a size.
          '';
          swap = typed "memory.swap" types'.size "Size of the swap file; 0B for none.";
          swap_file = typed "memory.swap_file" types'.path "The swap file.";
          swap_priority = typed "memory.swap_priority" (types.ints.between 0 32767) ''
            Its priority against other swap areas; the highest is used first.
          '';
          swappiness = typed "memory.swappiness" (types.ints.between 0 200) "vm.swappiness.";
          page_cluster = typed "memory.page_cluster" (types.ints.between 0 10) ''
            vm.page-cluster.
          '';
        };
        hardware = {
          cards = typed "hardware.cards" types.ints.unsigned "Cards (GPUs) in the machine.";
          card_memory = typed "hardware.card_memory" types'.size "Memory of each card.";
          ram = typed "hardware.ram" types'.size "RAM of the machine.";
        };
      };
    };
in
{
  options.services.rigappliance = {
    enable = lib.mkEnableOption "vLLM, planned before it starts and watched while it runs";

    package = mkOption {
      type = types.package;
      default = unset "services.rigappliance.package";
      defaultText = lib.literalMD "set by the flake's module";
      description = "The control plane: the `rigappliance` program.";
    };

    enginePackage = mkOption {
      type = types.package;
      default = unset "services.rigappliance.enginePackage";
      defaultText = lib.literalMD "set by the flake's module";
      description = "Python environment with vLLM, from which `settings.engine.python` comes.";
    };

    settings = mkOption {
      type = types.submodule settings;
      default = { };
      example = {
        engine.max_model_len = 8192;
        server.host = "0.0.0.0";
        server.api_key_file = "/etc/rigappliance/api-key";
      };
      description = ''
        The configuration, as in `rigappliance schema`. Settings that other parts of NixOS need are
        listed below; all others are passed on as they are and checked by the package itself while
        the system is built, so that a wrong one fails `nixos-rebuild` and not the boot.
      '';
    };

    configFile = mkOption {
      type = types.package;
      readOnly = true;
      default =
        pkgs.runCommand "rig.json"
          {
            inherit rendered;
            nativeBuildInputs = [ cfg.package ];
          }
          ''
            rigappliance check --config-only --config "$rendered"
            cp "$rendered" "$out"
          '';
      defaultText = lib.literalMD "the settings as JSON, checked by the package";
      description = "The configuration file that the services read.";
    };
  };

  config = lib.mkIf cfg.enable {
    environment = {
      etc."rigappliance/rig.json".source = cfg.configFile;
      systemPackages = [ cfg.package ];
      # So that `rigappliance status` and `check` mean this rig without being told.
      variables.RIGAPPLIANCE_CONFIG = "/etc/rigappliance/rig.json";
    };
  };
}

# The checkpoint's download, apart from the server: it may take days, and its failure is not the
# server's.
{
  config,
  lib,
  ...
}:
let
  inherit (lib) mkOption types;
  inherit (import ./lib.nix { inherit lib; }) argument isBelow;

  cfg = config.services.rigappliance;
  inherit (cfg) settings weights;
in
{
  options.services.rigappliance.weights = {
    enable = lib.mkEnableOption "the download of the checkpoint before the engine starts";
    fetchCommand = mkOption {
      type = types.nullOr (types.nonEmptyListOf types.singleLineStr);
      default = null;
      example = lib.literalExpression ''
        [
          (lib.getExe pkgs.rsync)
          "--archive"
          "models.example::qwen/"
          config.services.rigappliance.settings.model.path
        ]
      '';
      description = ''
        Command and arguments that bring the checkpoint here instead of `rigappliance fetch`. It
        runs as user `rigappliance`, succeeds only when the checkpoint is whole, goes on where it
        was interrupted and does nothing when all is there.
      '';
    };
  };

  config = lib.mkIf (cfg.enable && weights.enable) {
    systemd.services.rigappliance-weights = lib.mkMerge [
      (import ./unit.nix { inherit config lib; } "weights")
      {
        # A switch would wait for hours of download.
        restartIfChanged = false;
        stopIfChanged = false;
      }
      (lib.mkIf (weights.fetchCommand != null) {
        serviceConfig.ExecStart = lib.concatMapStringsSep " " argument weights.fetchCommand;
      })
    ];

    # The service may write there and nowhere else, so it has to exist before.
    systemd.tmpfiles.settings.rigappliance-weights =
      lib.mkIf (!isBelow settings.state_dir settings.model.path)
        {
          ${settings.model.path}.d = {
            mode = "0750";
            user = "rigappliance";
            group = "rigappliance";
          };
        };
  };
}

# Compilers and headers that the engine's kernels need at run time.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  inherit (import ./lib.nix { inherit lib; }) message;

  cfg = config.services.rigappliance;
in
{
  options.services.rigappliance.toolchain = {
    enable = mkOption {
      type = types.bool;
      default = true;
      description = ''
        Whether the engine finds the toolchain. Triton, FlashInfer and torch.compile make kernels
        while the engine starts; without compilers and headers all that they say is "JIT failed".
      '';
    };
    package = mkOption {
      type = types.package;
      default = throw (message {
        found = "services.rigappliance.toolchain.package is not set";
        expected = "a package with `path` and `environment` in its passthru";
        remedy = "import nixosModules.default of the flake, which sets it, or set it";
      });
      defaultText = lib.literalMD "set by the flake's module";
      description = ''
        The toolchain. Its `path` goes into the service's PATH, its `environment` beside it.
      '';
    };
  };

  config = lib.mkIf (cfg.enable && cfg.toolchain.enable) {
    systemd.services.rigappliance = {
      inherit (cfg.toolchain.package) path;
      environment = lib.mapAttrs (_: lib.mkDefault) cfg.toolchain.package.environment;
    };
  };
}

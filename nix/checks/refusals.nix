# What must not evaluate: a mistake each, and a part of the sentence that names it.
{
  lib,
  hosts,
  run,
  ...
}:
let
  rig = settings: { services.rigappliance = settings; };
  mistakes = {
    more-ranks-than-cards = {
      module = rig { settings.engine.tensor_parallel = 16; };
      says = "tensor_parallel";
    };
    key-in-the-store = {
      module = rig { settings.server.api_key_file = "${builtins.storeDir}/key"; };
      says = "api_key_file";
    };
    public-without-a-key = {
      module = rig { settings.server.host = "0.0.0.0"; };
      says = "api_key_file";
    };
    memory-above-the-ram = {
      module = rig { settings.memory.max = "64GiB"; };
      says = "memory.max";
    };
    swap-in-memory = {
      module = {
        fileSystems."/swap" = {
          device = "none";
          fsType = "tmpfs";
        };
        services.rigappliance.swap.path = lib.mkForce "/swap/file";
      };
      says = "tmpfs";
    };
  };

  failed =
    module:
    map (assertion: assertion.message) (
      lib.filter (assertion: !assertion.assertion)
        (hosts.rig.extendModules { modules = [ module ]; }).config.assertions
    );
  wrong = lib.filterAttrs (
    _: { module, says }: !lib.any (lib.hasInfix says) (failed module)
  ) mistakes;
in
{
  refusals =
    lib.throwIf (wrong != { })
      "not refused, or not for the right reason: ${toString (lib.attrNames wrong)}"
      (
        lib.throwIf (failed { } != [ ]) "the rig itself is refused: ${toString (failed { })}" (
          run "refusals" { } "echo ${toString (lib.length (lib.attrNames mistakes))} mistakes refused"
        )
      );
}

# The attribute set of `systemd.services.<name>` (or of another kind of unit) that a table of
# rigappliance/render/units describes. Its twin for hosts without NixOS is
# rigappliance/render/unittable.py: both make the same unit of the same table.
#
# `variables` are texts already in systemd's syntax; where one is null, what uses it is left out.
{
  lib,
  table,
  variables,
}:
let
  tree = lib.importTOML table;

  # Keys for which NixOS has lists of its own. They are left at normal priority, so that what others
  # add is added; every other leaf is a default, which others replace without mkForce.
  dependencies = {
    Unit = {
      After = "after";
      Before = "before";
      BindsTo = "bindsTo";
      Conflicts = "conflicts";
      OnFailure = "onFailure";
      PartOf = "partOf";
      Requires = "requires";
      Requisite = "requisite";
      Wants = "wants";
    };
    Service = { };
    Install = {
      RequiredBy = "requiredBy";
      WantedBy = "wantedBy";
    };
  };

  value =
    name:
    variables.${name}
      or (throw "${toString table} uses @${name}@; variables: ${toString (lib.attrNames variables)}");

  # The text with its placeholders filled in, or null where one of them has no value.
  fill =
    text:
    let
      parts = map (part: if lib.isList part then value (lib.head part) else part) (
        builtins.split "@([a-z_]+)@" text
      );
    in
    if lib.elem null parts then null else lib.concatStrings parts;

  # key → texts, of one section.
  filled =
    section:
    lib.filterAttrs (_: texts: texts != [ ]) (
      lib.mapAttrs (
        _: lib.concatMap ({ value, ... }: lib.filter lib.isString (map fill (lib.toList value)))
      ) (lib.groupBy (entry: entry.key) (tree.${section} or [ ]))
    );

  words = texts: lib.filter (word: word != "") (lib.concatMap (lib.splitString " ") texts);

  lists =
    section:
    lib.mapAttrs' (key: name: lib.nameValuePair name (words (filled section).${key})) (
      lib.intersectAttrs (filled section) dependencies.${section}
    );

  # A key that is given once is a text, as one would write it by hand.
  leaf = texts: lib.mkDefault (if lib.length texts == 1 then lib.head texts else texts);
  leaves =
    section:
    lib.mapAttrs (_: leaf) (removeAttrs (filled section) (lib.attrNames dependencies.${section}));

  unit = leaves "Unit";
  service = leaves "Service";
  unknown = lib.attrNames (leaves "Install");
in
lib.throwIf (unknown != [ ])
  "${toString table} has [Install] keys that units.nix does not know: ${toString unknown}"
  (
    lists "Unit"
    // lists "Install"
    // lib.optionalAttrs (unit ? Description) { description = unit.Description; }
    // {
      unitConfig = removeAttrs unit [ "Description" ];
    }
    // lib.optionalAttrs (service != { }) { serviceConfig = service; }
  )

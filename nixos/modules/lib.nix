# Quantities and text in the forms of the configuration and of systemd's unit files: the twin of
# rigappliance/units.py and rigappliance/render/unitsyntax.py, with which a test compares it.
{ lib }:
let
  factors = {
    B = 1;
    kB = 1000;
    MB = 1000 * 1000;
    GB = 1000 * 1000 * 1000;
    TB = 1000 * 1000 * 1000 * 1000;
    KiB = 1024;
    MiB = 1024 * 1024;
    GiB = 1024 * 1024 * 1024;
    TiB = 1024 * 1024 * 1024 * 1024;
  };

  # No more digits than 64 bits hold in that unit; the package itself takes more, and blanks.
  sizePattern = lib.concatStringsSep "|" [
    "[0-9]{1,15}B"
    "[0-9]{1,9}(\\.[0-9]{1,6})?(kB|MB|GB|KiB|MiB|GiB)"
    "[0-9]{1,6}(\\.[0-9]{1,6})?(TB|TiB)"
  ];
  sharePattern = "[0-9]{1,3}(\\.[0-9]{1,2})?%";

  described =
    type: description:
    type
    // {
      inherit description;
      descriptionClass = "noun";
    };

  # As many digits behind the point.
  padded = width: digits: digits + lib.fixedWidthString (width - lib.stringLength digits) "0" "";

  withoutTrailingZeros =
    digits:
    if lib.hasSuffix "0" digits then withoutTrailingZeros (lib.removeSuffix "0" digits) else digits;
in
rec {
  types' = {
    size = described (lib.types.strMatching sizePattern) ''size with its unit, such as "128GiB"'';

    memoryLimit = described (lib.types.strMatching "${sharePattern}|${sizePattern}") (
      ''share of the RAM such as "90%", or a size such as "14GiB"''
    );

    # A path literal would be copied to the store by the JSON generator: its text is what is meant.
    path = described (lib.types.coercedTo lib.types.path toString (
      lib.types.strMatching "(/[^/\n\r]+)+"
    )) "absolute path";
  };

  # Default of an option whose value is that of the profile, with all that it can be.
  ofProfile =
    profile: path:
    let
      defaults = import ./defaults.nix;
      default = lib.getAttrFromPath (lib.splitString "." path);
      shown = name: "`${builtins.toJSON (default defaults.${name})}`";
      alike = lib.all (name: shown name == shown "rig") (lib.attrNames defaults);
    in
    {
      default = default defaults.${profile};
      defaultText = lib.literalMD (
        if alike then
          shown "rig"
        else
          lib.concatMapStringsSep ", " (name: "${shown name} for the profile `${name}`") (
            lib.attrNames defaults
          )
      );
    };

  # Bytes of a size.
  bytes =
    size:
    let
      parts = builtins.match "([0-9]+)(\\.([0-9]+))?([A-Za-z]+)" size;
      part = builtins.elemAt parts;
      factor = factors.${part 3};
      digits = if part 2 == null then "" else part 2;
      millionths = lib.toIntBase10 (padded 6 digits);
    in
    lib.toIntBase10 (part 0) * factor + millionths * factor / 1000000;

  # A memory limit as systemd reads it, which knows other units.
  memoryMax =
    limit:
    let
      parts = builtins.match "([0-9]+)(\\.([0-9]+))?%" limit;
      whole = toString (lib.toIntBase10 (builtins.elemAt parts 0));
      digits = builtins.elemAt parts 2;
      fraction = if digits == null then "" else withoutTrailingZeros digits;
    in
    if parts == null then
      toString (bytes limit)
    else
      "${whole}${lib.optionalString (fraction != "") ".${fraction}"}%";

  # Bytes of a memory limit on a machine with this much RAM.
  memoryLimitBytes =
    limit: ram:
    let
      parts = builtins.match "([0-9]+)(\\.([0-9]+))?%" limit;
      digits = if builtins.elemAt parts 2 == null then "" else builtins.elemAt parts 2;
      hundredths = lib.toIntBase10 (builtins.elemAt parts 0 + padded 2 digits);
    in
    if parts == null then bytes limit else ram / 10000 * hundredths;

  # A whole value that systemd does not split into words.
  plain = lib.replaceStrings [ "%" ] [ "%%" ];

  # One word of a unit file, with specifiers and quotes taken literally.
  quoted =
    word:
    let
      escaped = lib.replaceStrings [ "\\" "\"" "%" ] [ "\\\\" "\\\"" "%%" ] word;
    in
    if builtins.match ".*[ \t'\"\\;].*" escaped == null then escaped else "\"${escaped}\"";

  # One argument of a command line, where a dollar would otherwise begin a variable.
  argument = word: lib.replaceStrings [ "$" ] [ "$$" ] (quoted word);

  # Whether `path` is `directory` or lies below it.
  isBelow = directory: path: directory == "/" || lib.hasPrefix "${directory}/" "${path}/";

  # The file system that holds `path`, or null where none is declared.
  fileSystemOf =
    fileSystems: path:
    let
      holding = lib.filter (mount: isBelow mount.mountPoint path) (lib.attrValues fileSystems);
      depth = mount: lib.stringLength mount.mountPoint;
      deepest = lib.sort (a: b: depth a > depth b) holding;
    in
    if deepest == [ ] then null else lib.head deepest;

  # Whether only this machine reaches what listens there. Names are not looked up.
  isLoopback =
    host:
    lib.elem host [
      "localhost"
      "::1"
    ]
    || builtins.match "127(\\.[0-9]{1,3}){3}" host != null;

  # What is found, what should be and what to do, on one line however the clauses were written.
  message =
    {
      found,
      expected,
      remedy,
      ...
    }:
    let
      clause = text: lib.replaceStrings [ "\n" ] [ " " ] (lib.removeSuffix "\n" text);
    in
    "rigappliance: ${clause found}; expected: ${clause expected}; to do: ${clause remedy}.";
}

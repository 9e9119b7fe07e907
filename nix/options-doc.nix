# The reference of all options of the modules, as Markdown, from the modules themselves.
#
# Only declarations are looked at, so nothing of nixpkgs but its lib is needed.
{ lib }:
let
  evaluated = lib.evalModules {
    modules = [
      ../nixos/modules
      { _module.check = false; }
    ];
    # The one thing that the declarations take from the package set.
    specialArgs.pkgs.formats.json = _: { type = lib.types.attrsOf lib.types.anything; };
  };

  options = lib.filter (option: option.visible && !option.internal) (
    lib.optionAttrSetToDocList evaluated.options.services.rigappliance
  );

  # `enable` of each group comes before what it switches on.
  key =
    option:
    map (
      part:
      if part == "enable" then
        ""
      else if part == "package" then
        " "
      else
        part
    ) option.loc;
  sorted = lib.sort (a: b: lib.compareLists lib.compare (key a) (key b) < 0) options;

  text = lib.removeSuffix "\n";
  shown =
    value:
    if value._type or "" == "literalMD" then
      " ${value.text}"
    else if lib.hasInfix "\n" value.text then
      "\n\n  ```nix\n  ${lib.replaceStrings [ "\n" ] [ "\n  " ] (text value.text)}\n  ```"
    else
      " `${value.text}`";

  entry = option: ''
    ## `${option.name}`

    ${text (option.description.text or option.description)}

    - Type: ${option.type}
    ${lib.optionalString (option ? default) "- Default:${shown option.default}\n"}${
      lib.optionalString (option ? example) "- Example:${shown option.example}\n"
    }'';
in
''
  # Options of the NixOS modules

  Written by `tools/options` from `nixos/modules`. What `settings` holds beyond the options below is listed in the
  [README](../README.md#configuration).

''
+ lib.concatMapStringsSep "\n" entry sorted

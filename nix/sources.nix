# Some files and folders of this repository, named from its root, without what tools leave in them.
# An edit elsewhere rebuilds nothing that was made of them.
{ lib }:
names:
let
  root = ../.;
in
lib.cleanSourceWith {
  name = "rigappliance-source";
  src = root;
  filter =
    path: _:
    let
      relative = lib.removePrefix "${toString root}/" path;
    in
    # The folders on the way to them as well.
    lib.any (name: lib.hasPrefix "${name}/" "${relative}/" || lib.hasPrefix "${relative}/" name) names
    && !lib.elem (baseNameOf path) [
      "__pycache__"
      ".ruff_cache"
      ".mypy_cache"
    ];
}

# `nix fmt`, of the whole tree or of the files that are named.
{ pkgs }:
pkgs.writeShellApplication {
  name = "format-nix";
  runtimeInputs = [
    pkgs.findutils
    pkgs.nixfmt
  ];
  text = ''
    # nixfmt alone would wait for text on its standard input.
    if [[ $# -eq 0 ]]; then
      set -- .
    fi
    # Not the environments and caches of the developers, whose names begin with a dot.
    find "$@" -name '.?*' -prune -o -name '*.nix' -exec nixfmt {} +
  '';
}

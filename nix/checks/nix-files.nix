# The Nix files themselves, and the page that is made of them.
{
  lib,
  pkgs,
  run,
  ...
}:
let
  files = lib.cleanSourceWith {
    name = "nix-files";
    src = ../..;
    # Not the environments and caches of the developers, whose names begin with a dot.
    filter =
      path: type:
      if type == "directory" then !lib.hasPrefix "." (baseNameOf path) else lib.hasSuffix ".nix" path;
  };
in
{
  formatting = run "formatting" { nativeBuildInputs = [ pkgs.nixfmt ]; } ''
    find ${files} -name '*.nix' -exec nixfmt --check {} +
  '';

  options-page =
    run "options-page"
      {
        expected = import ../options-doc.nix { inherit lib; };
        passAsFile = [ "expected" ];
      }
      ''
        diff ${../../docs/options.md} $expectedPath || {
          echo 'docs/options.md is not what the modules say; run tools/options' >&2
          exit 1
        }
      '';
}

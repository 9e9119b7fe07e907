# Tests and lint of the control plane, with the tools that are locked.
{
  lib,
  pkgs,
  packages,
  sources,
  run,
  ...
}:
let
  tree = sources [
    ".ci"
    ".github"
    ".gitignore"
    "CHANGELOG.md"
    "CONTRIBUTING.md"
    "LICENSE"
    "Makefile"
    "README.md"
    "bench"
    "docs"
    "engine"
    "flake.lock"
    "flake.nix"
    "nix"
    "nixos"
    "poetry.lock"
    "pyproject.toml"
    "rig.toml"
    "rigappliance"
    "templates"
    "tests"
    "tools"
  ];

  inTree =
    name: inputs: script:
    run name
      {
        nativeBuildInputs = [
          packages.dev
          packages.rigappliance
        ]
        ++ inputs;
      }
      ''
        cp --recursive ${tree} tree
        chmod --recursive u+w tree
        cd tree
        # Tests start the tools; a build has no /usr/bin/env.
        patchShebangs .ci tools
        export HOME=$TMPDIR
        ${script}
      '';

  tests = "tests/unit tests/nix/test_flake_lock.py";

  # What the sandbox of a build cannot show: systemd-analyze looks at the machine that it runs on,
  # and there are no programs in /usr/bin.
  notHere = lib.concatStringsSep " or " [
    "test_systemd_accepts_the_units"
    "test_exposure"
    "test_commands_see_no_variable_of_the_shell_and_find_roots_programs"
  ];
in
{
  # Those that need neither an engine, nor a virtual machine, nor Nix.
  unit-tests = inTree "unit-tests" [
    pkgs.git
    pkgs.procps
    (pkgs.util-linux or pkgs.utillinux)
  ] "pytest -p no:cacheprovider -m 'not engine and not vm' -k 'not (${notHere})' ${tests}";

  lint = inTree "lint" [ ] ''
    ruff check --no-cache .
    ruff format --no-cache --check .
    mypy
    shellcheck tools/engine-env tools/lock tools/nix-check tools/packages tools/test .ci/run
  '';
}

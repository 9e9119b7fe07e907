# The one place that knows poetry2nix, which nobody maintains any more: what makes its last commit
# work with current nixpkgs, and what makes its silence speak.
{
  lib,
  pkgs,
  poetry2nix,
}:
let
  poetry = poetry2nix.lib.mkPoetry2Nix {
    pkgs = pkgs // {
      # It asks every licence for its SPDX identifier; today some of lib.licenses are functions.
      lib = lib.extend (
        _: previous: {
          licenses = lib.filterAttrs (_: licence: lib.isAttrs licence) previous.licenses;
        }
      );
    };
  };

  # PEP 503.
  normalise =
    name:
    lib.toLower (lib.concatStringsSep "-" (lib.filter lib.isString (builtins.split "[-_.]+" name)));

  # What installs a wheel is nixpkgs' own, from the unchanged package set. Otherwise nixpkgs would
  # bootstrap its installer from the locked `packaging`, which is a wheel and cannot be built.
  nixpkgsTools =
    python: _: _:
    lib.filterAttrs (name: _: lib.hasSuffix "Hook" name) python.pkgs
    // {
      inherit (python.pkgs)
        bootstrap
        build
        flit-core
        installer
        poetry-core
        pyproject-hooks
        wheel
        ;
    };

  # poetry2nix takes these from nixpkgs even where the lock has them: back to the lock.
  lockedTools =
    lock: final: _:
    let
      isTool =
        package:
        lib.elem (normalise package.name) [
          "cython"
          "flit"
          "hatch-vcs"
          "hatchling"
          "pbr"
          "pdm-backend"
          "setuptools"
          "setuptools-scm"
        ];
      made =
        package:
        final.mkPoetryDep (
          package
          // {
            pwd = throw "${package.name} is no local package";
            pos = null;
            source = package.source or null;
            sourceSpec = { };
            pythonPackages = final;
            preferWheels = true;
          }
        );
    in
    lib.listToAttrs (
      map (package: lib.nameValuePair (normalise package.name) (made package)) (
        lib.filter isTool lock.package
      )
    );

  readLock = projectDir: lib.importTOML (projectDir + "/poetry.lock");

  # Whether a locked package is wanted without any extra.
  isRequired = package: !(package.optional or false);

  # Arguments that all projects have in common. `overlay` changes locked packages.
  arguments =
    {
      projectDir,
      python,
      extras ? [ ],
      overlay ? _: _: { },
    }:
    {
      inherit projectDir python extras;
      preferWheels = true;
      checkGroups = [ ];
      # The default overrides hand nixpkgs' functions arguments that they no longer take, and patch
      # what is built from source, which nothing is here.
      overrides = poetry.overrides.withoutDefaults (
        lib.composeManyExtensions [
          (nixpkgsTools python)
          (lockedTools (readLock projectDir))
          overlay
        ]
      );
    };

  # Names and versions, as `name-version`.
  labels =
    packages: lib.naturalSort (map (p: "${normalise p.pname or p.name}-${p.version}") packages);

  # The packages themselves, if they are what the lock says. poetry2nix leaves out what it does not
  # reach and takes what the lock lacks from nixpkgs, without a word; and it would build from source
  # what has no wheel for the target.
  checked =
    projectDir: isWanted: packages:
    let
      lock = "${toString projectDir}/poetry.lock";
      locked = lib.filter isWanted (readLock projectDir).package;
      # Without the interpreter, and without the project's own scripts, which have no version.
      modules = lib.filter (package: package ? pythonModule && package ? version) packages;

      complaints = lib.filterAttrs (_: names: names != [ ]) {
        "locked, but not in the environment" = lib.subtractLists (labels modules) (labels locked);
        "in the environment, but not locked" = lib.subtractLists (labels locked) (labels modules);
        "would be built from source" = map (package: package.name) (
          lib.filter (package: !lib.hasSuffix ".whl" (package.src.name or "")) modules
        );
      };
      text = lib.concatStringsSep "; " (
        lib.mapAttrsToList (what: names: "${what}: ${toString names}") complaints
      );
    in
    lib.throwIf (complaints != { }) "${lock}: ${text}" modules;
in
{
  inherit normalise;

  # A Python environment of what the project requires, and of what the extras require.
  mkEnv =
    {
      projectDir,
      extras ? [ ],
      ...
    }@project:
    let
      made = poetry.mkPoetryPackages (arguments project);
      # All extras or none is all that is asked for.
      isWanted = package: isRequired package || extras != [ ];
      packages = checked projectDir isWanted made.poetryPackages;
    in
    {
      inherit packages;
      env = made.python.withPackages (_: packages);
    };

  # The project as a program. Further arguments go to buildPythonPackage.
  mkApplication =
    { projectDir, python, ... }@project:
    let
      app = poetry.mkPoetryApplication (arguments { inherit projectDir python; } // project);
      modules = checked projectDir isRequired app.requiredPythonModules;
    in
    lib.deepSeq (labels modules) app;
}

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
      lib = lib.extend (_: previous: { licenses = lib.filterAttrs (_: lib.isAttrs) previous.licenses; });
    };
  };

  # PEP 503.
  normalise =
    name:
    lib.toLower (lib.concatStringsSep "-" (lib.filter lib.isString (builtins.split "[-_.]+" name)));

  # What installs a wheel is nixpkgs' own, from the unchanged package set. With packages of the lock
  # in their place, nixpkgs would bootstrap its installer from a locked `packaging`, which is a wheel
  # and cannot be built.
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
    lib.listToAttrs (
      map
        (
          package:
          lib.nameValuePair (normalise package.name) (
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
            )
          )
        )
        (
          lib.filter (
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
            ]
          ) lock.package
        )
    );

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
          (lockedTools (lib.importTOML (projectDir + "/poetry.lock")))
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
    what: locked: packages:
    let
      missing = lib.subtractLists (labels packages) (labels locked);
      surplus = lib.subtractLists (labels locked) (labels packages);
      fromSource = lib.filter (package: !lib.hasSuffix ".whl" (package.src.name or "")) packages;
      names = lib.concatMapStringsSep ", " (package: package.name or package);
    in
    lib.throwIf (missing != [ ]) "${what}: locked, but not in the environment: ${names missing}" (
      lib.throwIf (surplus != [ ]) "${what}: in the environment, but not locked: ${names surplus}" (
        lib.throwIf (fromSource != [ ]) "${what}: would be built from source: ${names fromSource}" packages
      )
    );

  # Without the interpreter, and without the scripts of the project itself, which have no version.
  modulesOf = lib.filter (package: package ? pythonModule && package ? version);

  # Whether the lock's package is in without any extra.
  required = package: !(package.optional or false);
in
{
  inherit normalise;

  # A Python environment of everything that is locked.
  mkEnv =
    { projectDir, ... }@project:
    let
      lock = lib.importTOML (projectDir + "/poetry.lock");
      made = poetry.mkPoetryPackages (arguments project);
      modules = modulesOf made.poetryPackages;
      packages = checked "${toString projectDir}/poetry.lock" (lib.filter (
        package: required package || project.extras or [ ] != [ ]
      ) lock.package) modules;
    in
    {
      inherit packages;
      env = made.python.withPackages (_: packages);
    };

  # The project as a program. Further arguments go to buildPythonPackage.
  mkApplication =
    {
      projectDir,
      python,
      extras ? [ ],
      overlay ? _: _: { },
      ...
    }@project:
    let
      lock = lib.importTOML (projectDir + "/poetry.lock");
      app = poetry.mkPoetryApplication (
        arguments {
          inherit
            projectDir
            python
            extras
            overlay
            ;
        }
        // removeAttrs project [ "overlay" ]
      );
      modules = modulesOf app.requiredPythonModules;
    in
    lib.deepSeq (labels (
      checked "${toString projectDir}/poetry.lock" (lib.filter required lock.package) modules
    )) app;
}

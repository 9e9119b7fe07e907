# The control plane: the `rigappliance` program, and an environment with its developers' tools.
{
  lib,
  pkgs,
  python,
  poetry,
  sources,
}:
let
  projectDir = ../.;
  inherit (lib.importTOML ../pyproject.toml) tool;
in
{
  program = poetry.mkApplication {
    inherit projectDir python;

    # What the package is made of and nothing else, so that an edit of the docs rebuilds nothing.
    src = sources [
      "README.md"
      "pyproject.toml"
      "rigappliance"
    ];

    nativeBuildInputs = [ python.pkgs.poetry-core ];
    pythonImportsCheck = [ "rigappliance" ];

    makeWrapperArgs = [
      # NVML is opened by its bare name, and NixOS has no ldconfig that would find it.
      "--suffix LD_LIBRARY_PATH : ${pkgs.addDriverRunpath.driverLink}/lib"
      # mkswap, swapon and swapoff, which the path of a NixOS service lacks.
      "--suffix PATH : ${lib.makeBinPath [ (pkgs.util-linux or pkgs.utillinux) ]}"
    ];

    meta = {
      inherit (tool.poetry) description;
      mainProgram = "rigappliance";
      license = lib.licenses.mit;
      platforms = [ "x86_64-linux" ];
    };
  };

  # Python with all that the control plane needs, and with pytest, mypy and ruff.
  dev =
    (poetry.mkEnv {
      inherit projectDir python;
      extras = [ "dev" ];
    }).env;
}

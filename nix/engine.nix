# The engine: a Python environment with vLLM and its CUDA closure, of wheels alone.
{
  lib,
  pkgs,
  python,
  poetry,
}:
let
  projectDir = ../engine;
  lock = lib.importTOML ../engine/poetry.lock;
  locked = lib.listToAttrs (
    map (package: lib.nameValuePair (poetry.normalise package.name) package) lock.package
  );
  inherit (locked.vllm) version;

  # Wheels for Linux. poetry2nix gives them the hook that leads their libraries to those of nixpkgs.
  isBinary = package: lib.any ({ file, ... }: lib.hasInfix "manylinux" file) package.files;

  # Wheels whose libraries other wheels are linked with, or open while they run.
  providesLibraries =
    name:
    lib.hasPrefix "nvidia-" name
    || lib.elem name [
      "apache-tvm-ffi"
      "torch"
      "z3-solver"
    ];

  # What wheels are linked with although they do not require it.
  undeclared = {
    nccl-extensions = [ "nvidia-nccl-cu13" ];
    torchaudio = [ "torch" ];
    torchcodec = [ "torch" ];
  };

  # Libraries that stay away. Any other that is missing fails the build.
  absent = {
    # Another way to run threads beside OpenMP; numba looks which ones it can load.
    numba = [ "libtbb.so.12" ];
    # RDMA: cuFile and NVSHMEM load what fits the network cards, and a rig has none of those.
    nvidia-cufile = [
      "libibverbs.so.1"
      "libmlx5.so.1"
      "librdmacm.so.1"
    ];
    nvidia-nvshmem-cu13 = [
      "libfabric.so.1"
      "libmlx5.so.1"
      "libmpi.so.40"
      "liboshmem.so.40"
      "libpmix.so.2"
      "libucp.so.0"
      "libucs.so.0"
    ];
    # One library for each FFmpeg from 4 to 9; a server of text decodes no video.
    torchcodec = [
      "libav*.so.*"
      "libsw*.so.*"
      "libheif.so.1"
    ];
  };

  driverLibraries = "${pkgs.addDriverRunpath.driverLink}/lib";

  # Wheels expect to lie in one folder, and find each other's libraries by paths relative to their
  # own. Here each lies in a path of its own, so the paths are written into the libraries.
  withLibraries =
    final: name: package:
    let
      required = final.requiredPythonModules (
        package.propagatedBuildInputs ++ map (other: final.${other}) undeclared.${name} or [ ]
      );
      providers = lib.filter (other: providesLibraries (other.pname or "")) required;
    in
    package.overridePythonAttrs (old: {
      autoPatchelfIgnoreMissingDeps = [ "libcuda.so.1" ] ++ absent.${name} or [ ];
      # cuDNN, NVRTC and NVSHMEM open parts of themselves by bare names. The driver's libraries are
      # those of the machine, whatever it runs.
      appendRunpaths = [
        "$ORIGIN"
        driverLibraries
      ];
      preFixup = (old.preFixup or "") + ''
        while IFS= read -r folder; do
          addAutoPatchelfSearchPath --no-recurse "$folder"
          # Not only what it is linked with: libraries open others while they run.
          appendToVar appendRunpaths "$folder"
        done < <(
          for wheel in ${toString providers}; do
            find "$wheel/${python.sitePackages}" -name '*.so*' -printf '%h\n'
          done | sort --unique
        )
      '';
    });

  # Scripts with which these two were made, both at the top of site-packages.
  withoutBuildScript =
    package:
    package.overridePythonAttrs (old: {
      postInstall = (old.postInstall or "") + ''
        rm $out/${python.sitePackages}/build_backend.py
        rm -f $out/${python.sitePackages}/__pycache__/build_backend.*.pyc
      '';
    });

  overlay =
    lib.composeExtensions
      (
        final: previous:
        lib.mapAttrs (name: _: withLibraries final name previous.${name}) (
          lib.filterAttrs (_: isBinary) locked
        )
      )
      (
        _: previous:
        lib.genAttrs [
          "flashinfer-python"
          "torch-c-dlpack-ext"
        ] (name: withoutBuildScript previous.${name})
      );

  made = poetry.mkEnv { inherit projectDir python overlay; };
in
made.env.overrideAttrs (old: {
  name = "rigappliance-engine-${version}";
  passthru = (old.passthru or { }) // {
    inherit version;
    inherit (made) packages;
    # The CUDA that its libraries belong to; the toolchain compiles for the same.
    cudaVersion = lib.versions.majorMinor locked.nvidia-cuda-runtime.version;
  };
  meta = (old.meta or { }) // {
    description = "Python environment with vLLM ${version} and the CUDA that it was built for";
    mainProgram = "vllm";
    platforms = [ "x86_64-linux" ];
  };
})

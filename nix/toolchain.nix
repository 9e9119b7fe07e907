# What the engine compiles its kernels with while it starts: the same for the service, for
# `nix run .#launch` and for the shell. Without it vLLM says "JIT failed", minutes after the start.
#
# `passthru.path` belongs on PATH, `passthru.environment` into the environment.
{
  lib,
  pkgs,
  python,
  # Of the engine's wheels, such as "13.0".
  cudaVersion,
}:
let
  # One CUDA for all: a compiler of another release refuses the headers of this one.
  setName = "cudaPackages_${lib.replaceStrings [ "." ] [ "_" ] cudaVersion}";
  cudaPackages = pkgs.${setName} or pkgs.cudaPackages;
  # A set that does not say what it is stands in for the real one where nothing is built.
  isReal = cudaPackages ? cudaMajorMinorVersion;

  part =
    output: name:
    let
      package =
        cudaPackages.${name}
          or (lib.throwIf isReal "${setName} of nixpkgs has no ${name}, which kernels are compiled with"
            null
          );
    in
    lib.optional (package != null) (lib.getOutput output package);

  driverLibraries = "${pkgs.addDriverRunpath.driverLink}/lib";

  # The newest gcc that this nvcc takes. What it links finds nixpkgs' own libraries again.
  inherit (cudaPackages.backendStdenv) cc;

  # nixpkgs splits CUDA into a package a component; programs look for one folder.
  cuda = pkgs.symlinkJoin {
    name = "cuda-${cudaVersion}-for-kernels";
    paths =
      lib.concatMap (part "out") [
        "cuda_nvcc"
        "cuda_crt"
        "cuda_cudart"
      ]
      # Headers alone where the library itself comes with the wheels, ...
      ++ lib.concatMap (part "include") [
        "cuda_cccl"
        "cuda_nvrtc"
        "cuda_nvtx"
        "cuda_profiler_api"
        "libcublas"
        "libcurand"
        "libcusolver"
        "libcusparse"
      ]
      # ... and stubs of those that kernels are linked with.
      ++ lib.concatMap (part "stubs") [
        "cuda_nvrtc"
        "libcublas"
      ];
    postBuild = ''
      # FlashInfer links with -L$CUDA_HOME/lib64 and lib64/stubs.
      ln -s lib $out/lib64
      # Hooks for builds of nixpkgs, which a folder of several packages would run by halves.
      rm -rf $out/nix-support
    '';
  };

  path = [
    cc
    # ld and objcopy: torch.compile and TVM call them by name.
    cc.bintools
    cuda
    pkgs.ninja
    pkgs.numactl
    pkgs.pkg-config
    # FlashInfer asks it for nvcc.
    pkgs.which
  ];

  headers = lib.concatStringsSep ":" [
    "${python}/include/${python.libPrefix}"
    "${lib.getDev pkgs.numactl}/include"
    # nixpkgs' nvcc finds its own headers, not those of the runtime.
    "${cuda}/include"
  ];

  environment = {
    # Triton, torch.compile and FlashInfer take the compiler from here. A bare gcc of the store
    # finds neither the C library nor its start files; this is the wrapped one. FlashInfer hands it
    # on to nvcc, which knows gcc by its name.
    CC = "${cc}/bin/gcc";
    CXX = "${cc}/bin/g++";

    # nvcc, headers and stubs for FlashInfer, TileLang, TVM and torch's extensions. The wheels'
    # own nvcc is of a newer release than their headers, and has no folder around it.
    CUDA_HOME = "${cuda}";

    # Triton asks /sbin/ldconfig otherwise, which NixOS has not.
    TRITON_LIBCUDA_PATH = driverLibraries;
    # Triton's wheel brings that of CUDA 12.8.
    TRITON_PTXAS_PATH = "${cuda}/bin/ptxas";

    # Kernels are linked with -lcuda, where a stub stands for the driver that is not there to link
    # with, and with libnuma.
    LIBRARY_PATH = lib.concatStringsSep ":" [
      "${cuda}/lib"
      "${cuda}/lib/stubs"
      "${lib.getLib pkgs.numactl}/lib"
    ];

    # Searched after what a command line names, so that FlashInfer's newer CCCL stays in front.
    C_INCLUDE_PATH = headers;
    CPLUS_INCLUDE_PATH = headers;
    PKG_CONFIG_PATH = "${lib.getDev pkgs.numactl}/lib/pkgconfig";

    # Libraries that are opened by bare names: NVML and libcuda, which only the driver has, and
    # libnuma. Comes before the paths in the kernels, which lead to the stub.
    LD_LIBRARY_PATH = lib.concatStringsSep ":" [
      driverLibraries
      "${lib.getLib pkgs.numactl}/lib"
    ];
  };
in
lib.throwIf ((cudaPackages.cudaMajorMinorVersion or cudaVersion) != cudaVersion)
  "nixpkgs has no ${setName}; the engine's wheels are for CUDA ${cudaVersion}: take another of either"
  (
    pkgs.buildEnv {
      name = "rigappliance-toolchain-cuda-${cudaVersion}";
      paths = path;
      pathsToLink = [ "/bin" ];
      passthru = {
        inherit path environment cuda;
      };
      meta = {
        description = "Compilers, headers and stubs for the kernels that vLLM makes at run time";
        platforms = [ "x86_64-linux" ];
      };
    }
  )

"""Operations of NVIDIA's libraries that answer without a card: versions, compilers, linkers."""

from __future__ import annotations

import ctypes
from importlib import import_module

SOURCE = b'extern "C" __global__ void twice(float *x) { x[threadIdx.x] *= 2; }'


def _version(library: str, function: str, least: int) -> None:
    """``function`` writes its version into an integer and returns 0."""
    number = ctypes.c_int(0)
    assert getattr(ctypes.CDLL(library), function)(ctypes.byref(number)) == 0
    assert number.value >= least, number.value


def nvidia_cuda_runtime() -> None:
    _version("libcudart.so.13", "cudaRuntimeGetVersion", 13_000)


def nvidia_cufft() -> None:
    _version("libcufft.so.12", "cufftGetVersion", 12_000)


def nvidia_curand() -> None:
    _version("libcurand.so.10", "curandGetVersion", 10_000)


def nvidia_cusolver() -> None:
    _version("libcusolver.so.12", "cusolverGetVersion", 12_000)


def nvidia_nccl_cu13() -> None:
    _version("libnccl.so.2", "ncclGetVersion", 22_000)


def nvidia_cuda_cupti() -> None:
    _version("libcupti.so.13", "cuptiGetVersion", 1)


def nvidia_cufile() -> None:
    _version("libcufile.so.0", "cuFileGetVersion", 1)


def nvidia_cudnn_cu13() -> None:
    assert ctypes.CDLL("libcudnn.so.9").cudnnGetVersion() >= 90_000


def nvidia_cublas() -> None:
    assert ctypes.CDLL("libcublasLt.so.13").cublasLtGetVersion() >= 130_000
    number = ctypes.c_int(0)
    assert ctypes.CDLL("libcublas.so.13").cublasGetProperty(0, ctypes.byref(number)) == 0
    assert number.value == 13


def nvidia_cusparse() -> None:
    number = ctypes.c_int(0)
    assert ctypes.CDLL("libcusparse.so.12").cusparseGetProperty(0, ctypes.byref(number)) == 0
    assert number.value == 12


def nvidia_cusparselt_cu13() -> None:
    number = ctypes.c_int(9)
    assert ctypes.CDLL("libcusparseLt.so.0").cusparseLtGetProperty(0, ctypes.byref(number)) == 0
    assert number.value == 0


def nvidia_nvjitlink() -> None:
    """The compiled kernel, linked to machine code."""
    linker, code = import_module("cuda.bindings.nvjitlink"), _ptx()
    handle = linker.create(2, ["-arch=sm_86", "-O3"])
    linker.add_data(handle, linker.InputType.PTX, code, len(code), "twice")
    linker.complete(handle)
    assert linker.get_linked_cubin_size(handle) > 500
    linker.destroy(handle)


def nvidia_cuda_nvrtc() -> None:
    assert b".entry twice" in _ptx()


def cuda_bindings() -> None:
    assert b".entry twice" in _ptx()
    for name in ("driver", "runtime", "nvvm", "nvml"):
        assert import_module(f"cuda.bindings.{name}")


def _ptx() -> bytes:
    """The kernel, compiled at run time for compute capability 8.6."""
    compiler = import_module("cuda.bindings.nvrtc")
    error, program = compiler.nvrtcCreateProgram(SOURCE, b"twice.cu", 0, [], [])
    assert int(error) == 0
    assert int(compiler.nvrtcCompileProgram(program, 1, [b"--gpu-architecture=compute_86"])[0]) == 0
    size = compiler.nvrtcGetPTXSize(program)[1]
    code = bytes(size)
    assert int(compiler.nvrtcGetPTX(program, code)[0]) == 0
    return code


def nvidia_nvvm() -> None:
    """The compiler of NVVM's intermediate language, which the DSLs call."""
    library = import_module("cuda.bindings.nvvm")
    assert library.version()[0] >= 2
    program = library.create_program()
    text = (
        b'target triple = "nvptx64-nvidia-cuda"\n'
        b"define void @empty() { ret void }\n!nvvm.annotations = !{!0}\n"
        b'!0 = !{void ()* @empty, !"kernel", i32 1}\n!nvvmir.version = !{!1}\n!1 = !{i32 2, i32 0}\n'
    )
    library.add_module_to_program(program, text, len(text), "empty")
    library.compile_program(program, 1, ["-arch=compute_86"])
    assert library.get_compiled_result_size(program) > 100


def cuda_core() -> None:
    assert import_module("cuda.core").__version__


def nccl4py() -> None:
    assert import_module("nccl.core")


def nccl_extensions() -> None:
    assert import_module("nccl._extensions")


def nvtx() -> None:
    with import_module("nvtx").annotate("range"):
        pass


def pynvvideocodec() -> None:
    assert import_module("PyNvVideoCodec")


def torchcodec() -> None:
    assert import_module("torchcodec")

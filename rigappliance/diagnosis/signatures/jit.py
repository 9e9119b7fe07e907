"""Kernels that are compiled at run time: Triton, inductor, FlashInfer, torch extensions, gcc, ld, nvcc."""

from __future__ import annotations

from rigappliance.diagnosis.result import Confidence
from rigappliance.diagnosis.signature import Role, Signature, hint

NO_COMPILER = "jit-no-compiler"
NO_HEADERS = "jit-no-python-headers"
NO_NUMA = "jit-no-libnuma"
NO_CUDA = "jit-no-libcuda"
FAILED = "jit-failed"
CERTAIN = Confidence.CERTAIN


def _wrapper(name: str, text: str, source: str) -> Signature:
    """What is said of any failed compilation; the compiler's own message, often after it, says more."""
    return Signature(name, FAILED, text, source, role=Role.HINT)


JIT = (
    Signature("python-h", NO_HEADERS, "Python.h: No such file or directory", "gcc", confidence=CERTAIN),
    Signature("python-h-clang", NO_HEADERS, "'Python.h' file not found", "clang", confidence=CERTAIN),
    Signature("pyconfig-h", NO_HEADERS, "pyconfig.h: No such file or directory", "gcc", confidence=CERTAIN),
    Signature("numa-h", NO_NUMA, "numa.h: No such file or directory", "gcc", confidence=CERTAIN),
    Signature("numa-h-clang", NO_NUMA, "'numa.h' file not found", "clang", confidence=CERTAIN),
    Signature("numa-link", NO_NUMA, "cannot find -lnuma", "ld", confidence=CERTAIN),
    Signature(
        "numa-load", NO_NUMA, "libnuma.so", "ld.so", r"cannot open shared object file|not found", confidence=CERTAIN
    ),
    # Without it the kernels of the CPU build are not loaded, and the engine fails when it needs the first of them.
    Signature("numa-extension", NO_NUMA, "Failed to import from vllm.", "platforms/cpu", r"libnuma", warning=True),
    Signature("cuda-link", NO_CUDA, "cannot find -lcuda", "ld", r"cannot find -lcuda\b(?!rt)", confidence=CERTAIN),
    Signature("cuda-link-lld", NO_CUDA, "unable to find library -lcuda", "lld", confidence=CERTAIN),
    Signature("cuda-assert", NO_CUDA, "libcuda.so cannot found!", "Triton", confidence=CERTAIN),
    Signature("cuda-possible", NO_CUDA, "Possible files are located at", "Triton", r"libcuda"),
    Signature("triton-no-cc", NO_COMPILER, "Failed to find C compiler", "Triton", confidence=CERTAIN),
    Signature("inductor-no-cc", NO_COMPILER, "InvalidCxxCompiler", "torch inductor", confidence=CERTAIN),
    Signature(
        "inductor-no-cc-text", NO_COMPILER, "No working C++ compiler found", "torch inductor", confidence=CERTAIN
    ),
    Signature("nvcc-not-found", NO_COMPILER, "Could not find nvcc", "FlashInfer", confidence=CERTAIN),
    Signature("nvcc-shell", NO_COMPILER, "nvcc: not found", "sh", confidence=CERTAIN),
    Signature("nvcc-bash", NO_COMPILER, "nvcc: command not found", "bash", confidence=CERTAIN),
    Signature(
        "nvcc-file",
        NO_COMPILER,
        "bin/nvcc",
        "FlashInfer, torch",
        r"No such file or directory|not found",
        confidence=CERTAIN,
    ),
    Signature("cuda-home", NO_COMPILER, "CUDA_HOME environment variable is not set", "torch", confidence=CERTAIN),
    Signature(
        "cc-missing",
        NO_COMPILER,
        "No such file or directory: '",
        "Python",
        r"No such file or directory: '(?:[^']*/)?(?:gcc|g\+\+|cc|c\+\+|clang|clang\+\+|nvcc|ninja|cl)'",
    ),
    Signature(
        "cc1plus", NO_COMPILER, "cannot execute ", "gcc", r"cannot execute ['‘](?:cc1|cc1plus|as|ld|collect2)['’]"
    ),
    Signature(
        "cc-shell",
        NO_COMPILER,
        "not found",
        "sh",
        r"(?:^|[\s:])(?:gcc|g\+\+|cc|c\+\+|clang|x86_64-linux-gnu-gcc|ninja): (?:command )?not found",
    ),
    Signature("ninja-missing", NO_COMPILER, "Ninja is required to load C++ extensions", "torch", confidence=CERTAIN),
    Signature("compiler-named", NO_COMPILER, "Compiler: ", "torch inductor", r"Compiler: \S+ is not found"),
    Signature("stdlib-h", NO_COMPILER, "stdlib.h: No such file or directory", "gcc"),
    Signature("stdio-h", NO_COMPILER, "stdio.h: No such file or directory", "gcc"),
    Signature("crt1", NO_COMPILER, "cannot find crt", "ld", r"cannot find (?:S?crt1|crti)\.o"),
    Signature("libc-link", NO_COMPILER, "cannot find -lc", "ld", r"cannot find -lc(?::|\s|$)"),
    Signature(
        "header-missing",
        FAILED,
        "fatal error: ",
        "gcc, nvcc",
        r"fatal error: \S+\.(?:h|hpp|cuh): No such file or directory",
    ),
    Signature("link-library", FAILED, "ld: cannot find -l", "ld"),
    Signature("ptxas", FAILED, "PTXASError", "Triton"),
    Signature("ptxas-internal", FAILED, "Internal Triton PTX codegen error", "Triton"),
    Signature("ptxas-fatal", FAILED, "ptxas fatal", "ptxas"),
    Signature("triton-compile", FAILED, "triton.compiler.errors.CompilationError", "Triton"),
    Signature("nvrtc", FAILED, "NVRTC_ERROR_", "NVRTC"),
    Signature("nvrtc-text", FAILED, "nvrtc: error", "NVRTC"),
    Signature("exec-noexec", FAILED, "failed to map segment from shared object", "ld.so"),
    _wrapper("link-failed", "collect2: error: ld returned", "gcc"),
    _wrapper("flashinfer-build", "Ninja build failed", "FlashInfer"),
    _wrapper("ninja-stopped", "ninja: build stopped", "ninja"),
    _wrapper("extension-build", "Error building extension", "torch"),
    _wrapper("inductor-cpp", "CppCompileError", "torch inductor"),
    hint("jit-failed", FAILED, "JIT failed", "FlashInfer, Triton"),
    hint("inductor-backend", FAILED, "BackendCompilerFailed", "torch inductor"),
    hint("inductor-error", FAILED, "InductorError", "torch inductor"),
    hint(
        "gcc-status",
        FAILED,
        "returned non-zero exit status",
        "Python",
        r"Command '?\[?.*(?:gcc|g\+\+|nvcc|clang|ninja|ptxas)\b.*returned non-zero exit status",
    ),
)

"""Processes that a signal ended: faulthandler, glibc, the shell, torch, CUDA's own asserts."""

from __future__ import annotations

from rigappliance.diagnosis.result import Confidence
from rigappliance.diagnosis.signature import Signature, hint

CRASHED = "part-crashed"
SIGILL = "illegal-instruction"
CERTAIN = Confidence.CERTAIN

CRASHES = (
    Signature(
        "faulthandler-ill", SIGILL, "Fatal Python error: Illegal instruction", "faulthandler", confidence=CERTAIN
    ),
    Signature(
        "shell-ill", SIGILL, "Illegal instruction", "sh", r"Illegal instruction\s*(?:\(core dumped\)|:? ?4|$|\s)"
    ),
    Signature("kernel-ill", SIGILL, "trap invalid opcode", "kernel", confidence=CERTAIN),
    Signature("signal-ill", SIGILL, "SIGILL", "any", r"\bSIGILL\b"),
    Signature("cpu-baseline", SIGILL, "NumPy was built with baseline optimizations", "numpy", confidence=CERTAIN),
    Signature(
        "cpu-isa",
        SIGILL,
        "This version of",
        "torch, TensorFlow",
        r"compiled to use (?:the following )?(?:CPU instructions|\S*AVX\S*) instructions",
    ),
    Signature("faulthandler-bus", "bus-error", "Fatal Python error: Bus error", "faulthandler", confidence=CERTAIN),
    Signature("shell-bus", "bus-error", "Bus error", "sh", r"Bus error\s*(?:\(core dumped\)|\(nil\)|$|:)"),
    Signature("signal-bus", "bus-error", "SIGBUS", "any", r"\bSIGBUS\b"),
    Signature(
        "faulthandler-segv", CRASHED, "Fatal Python error: Segmentation fault", "faulthandler", confidence=CERTAIN
    ),
    Signature("torch-segv", CRASHED, "Segfault encountered", "torch", confidence=CERTAIN),
    Signature("absl-segv", CRASHED, "*** SIGSEGV received", "absl", confidence=CERTAIN),
    Signature("shell-segv", CRASHED, "Segmentation fault", "sh", r"Segmentation fault\s*(?:\(core dumped\)|$|:)"),
    Signature("signal-segv", CRASHED, "SIGSEGV", "any", r"\bSIGSEGV\b"),
    Signature(
        "heap", CRASHED, "corrupted", "glibc", r"malloc\(\): |double free or corruption|corrupted (?:size|double)"
    ),
    Signature("double-free", CRASHED, "double free or corruption", "glibc"),
    Signature("free-invalid", CRASHED, "free(): invalid", "glibc"),
    Signature(
        "illegal-address",
        CRASHED,
        "illegal memory access",
        "CUDA",
        r"CUDA|Triton|cuda|an illegal memory access was encountered",
    ),
    Signature("illegal-address-code", CRASHED, "CUDA_ERROR_ILLEGAL_ADDRESS", "CUDA"),
    Signature("misaligned", CRASHED, "misaligned address", "CUDA", r"CUDA|cuda"),
    Signature("illegal-gpu-instruction", CRASHED, "an illegal instruction was encountered", "CUDA"),
    Signature("device-assert", CRASHED, "device-side assert triggered", "CUDA"),
    Signature("cublas-failed", CRASHED, "CUBLAS_STATUS_EXECUTION_FAILED", "cuBLAS"),
    Signature("cublas-internal", CRASHED, "CUBLAS_STATUS_INTERNAL_ERROR", "cuBLAS"),
    hint("launch-failure", CRASHED, "unspecified launch failure", "CUDA"),
    hint("cuda-other", CRASHED, "CUDA error: ", "torch", r"CUDA error: (?!out of memory)\w"),
    hint("faulthandler-abort", CRASHED, "Fatal Python error: Aborted", "faulthandler"),
    hint("terminate", CRASHED, "terminate called after throwing an instance of", "libstdc++"),
    hint("shell-abort", CRASHED, "Aborted (core dumped)", "sh"),
    hint("shell-killed", "killed", "Killed", "sh", r"(?:^|\s\d+ |: )Killed(?:\s|$)"),
)

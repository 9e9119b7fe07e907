"""The engine's Python environment: missing or mismatched libraries and modules."""

from __future__ import annotations

from rigappliance.diagnosis.signature import Signature, hint

BROKEN = "engine-broken"

ENVIRONMENT = (
    Signature("undefined-symbol", BROKEN, "undefined symbol:", "ld.so"),
    Signature("glibc", BROKEN, "version `GLIBC", "ld.so", r"not found"),
    Signature("cxxabi", BROKEN, "version `CXXABI", "ld.so", r"not found"),
    Signature("operator", BROKEN, "object has no attribute", "torch", r"'_OpNamespace' '\w+' object has no attribute"),
    Signature("operator-missing", BROKEN, "does not exist", "torch", r"operator \w+::\w+ does not exist"),
    Signature("numpy-abi", BROKEN, "numpy.dtype size changed", "numpy"),
    Signature("numpy-2", BROKEN, "A module that was compiled using NumPy 1.x cannot be run in", "numpy"),
    Signature("distribution", BROKEN, "importlib.metadata.PackageNotFoundError", "Python"),
    Signature("python-home", BROKEN, "init_fs_encoding", "Python", r"Fatal Python error: init_fs_encoding"),
    Signature(
        "no-vllm",
        BROKEN,
        "No module named",
        "Python",
        r"(?:ModuleNotFoundError: |: )No module named '?(?:vllm|torch|transformers|uvloop|uvicorn|triton)\b",
    ),
    Signature("vllm-command", BROKEN, "vllm: ", "sh", r"vllm: (?:command )?not found|vllm: No such file"),
    Signature("no-cuda-torch", BROKEN, "Torch not compiled with CUDA enabled", "torch"),
    Signature("operator-backend", BROKEN, "Could not run '", "torch", r"with arguments from the '\w+' backend"),
    Signature("no-operators", BROKEN, "_C' object has no attribute", "torch"),
    hint("module", BROKEN, "ModuleNotFoundError: ", "Python"),
    hint("import", BROKEN, "ImportError: ", "Python"),
    hint("shared-object", BROKEN, "cannot open shared object file", "ld.so"),
    hint("python-signature", BROKEN, "got an unexpected keyword argument", "Python", r"TypeError: "),
    hint("python-attribute", BROKEN, "AttributeError: module", "Python"),
)

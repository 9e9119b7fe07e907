"""What is imported once, and whether the engine is the one that this was written for."""

from __future__ import annotations

import importlib
import importlib.util
from contextlib import suppress

from rigappliance import ENGINE_VERSION

# What API server, core and workers have imported when they are ready; the rest is what a model brings.
EVERYWHERE = (
    "vllm.entrypoints.launchers.api_server.entry",
    "vllm.entrypoints.openai.api_server",
    "vllm.v1.engine.async_llm",
    "vllm.v1.engine.core",
    "vllm.v1.executor.multiproc_executor",
)
# What workers import when they compile for the first time. A child that imports sweeps over all modules again and again
# (inspect.getmodule), and each page that it looks at becomes its own: 35 MB a worker less.  They may be missing.
COMPILING = (
    "compressed_tensors",
    "sympy.combinatorics",
    "sympy.physics.units",
    "torch._dynamo.backends.cudagraphs",
    "torch._dynamo.backends.distributed",
    "torch._dynamo.backends.inductor",
    "torch._inductor.choices",
    "torch._inductor.codegen.cpp_wrapper_gpu",
    "torch._inductor.codegen.cuda_combined_scheduling",
    "torch._inductor.codegen.wrapper_fxir",
    "torch._inductor.compile_fx",
    "torch._inductor.fx_passes.freezing_patterns",
    "torch._inductor.fx_passes.fuse_attention",
    "torch._inductor.fx_passes.mkldnn_fusion",
    "torch.distributed.tensor.experimental",
    "torch.export._trace",
    "vllm.model_executor.models.qwen2",
    "vllm.v1.core.sched.scheduler",
)
WORKER = {"cpu": "vllm.v1.worker.cpu_worker", "cuda": "vllm.v1.worker.gpu_worker"}


def import_all(device: str) -> None:
    """Raises whatever an import raises."""
    for name in (*EVERYWHERE, WORKER[device]):
        importlib.import_module(name)
    for name in COMPILING:
        with suppress(ImportError):
            importlib.import_module(name)


def version_mismatch() -> str | None:
    """Why this is not the engine that was read, or None."""
    found = str(importlib.import_module("vllm").__version__)
    if found.split("+")[0] == ENGINE_VERSION:
        return None
    return f"the engine is vLLM {found}, this was written for {ENGINE_VERSION}"

"""What is started on the card: configurations that the plan calls fitting, and some that it refuses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

INT8 = "Qwen/Qwen2.5-72B-Instruct-GPTQ-Int8"
SEVEN = "Qwen/Qwen2.5-7B-Instruct"


@dataclass(frozen=True)
class Case:
    """``model`` of the catalogue with ``shape`` changed, keys of [engine], and what the plan should say.

    ``kills`` is the title of a process that is killed once it has served, ``cause`` what `why` should say in the end,
    ``like`` the number of the case whose checkpoint, and with it whose compiled model, is used again.
    """

    name: str
    model: str
    shape: dict[str, Any]
    engine: dict[str, Any]
    fits: bool = True
    options: dict[str, Any] = field(default_factory=dict)
    kills: str = ""
    cause: str = ""
    like: int | None = None


def layers(count: int) -> dict[str, Any]:
    return {"num_hidden_layers": count}


BASE = {"max_model_len": 4096, "max_num_seqs": 32, "max_num_batched_tokens": 2048}


def at(utilisation: float, **more: Any) -> dict[str, Any]:
    return {**BASE, "gpu_memory_utilization": utilisation, **more}


# At one rank the core computes by itself unless it is told to have a worker.
WORKER = {"distributed-executor-backend": "mp"}
# Those that the card model was corrected by, with the engine's own graphs.
FITTED = (
    Case("72B shape, 8 layers, 0.85", INT8, layers(8), at(0.85)),
    Case("72B shape, 8 layers, 0.50", INT8, layers(8), at(0.5)),
    Case("72B shape, 70 layers, 0.92", INT8, layers(70), at(0.92)),
    Case(
        "72B shape, 40 layers, 8192 tokens a step",
        INT8, layers(40),
        {"max_model_len": 16384, "max_num_seqs": 16, "gpu_memory_utilization": 0.8, "max_num_batched_tokens": 8192},
    ),
    Case("72B shape, 8 layers, eager", INT8, layers(8), at(0.7, enforce_eager=True)),
    Case(
        "72B shape, 8 layers, 256 requests", INT8, layers(8),
        {"max_model_len": 4096, "max_num_seqs": 256, "gpu_memory_utilization": 0.9, "max_num_batched_tokens": 8192},
    ),
    Case("7B bf16, 28 layers, 0.60", SEVEN, {}, at(0.6, max_model_len=32768, max_num_seqs=64)),
)  # fmt: skip
# Those that it had not seen.
FITTING = (
    Case(
        "72B shape, 8 layers, 0.90, a worker", INT8, layers(8), at(0.9),
        options=WORKER, kills="VLLM::Worker", cause="part-killed",
    ),
    Case(
        "72B shape, 8 layers, 0.90, second start", INT8, layers(8), at(0.9),
        options=WORKER, kills="VLLM::EngineCore", cause="part-killed", like=0,
    ),
    Case("7B bf16, 14 layers, 0.95", SEVEN, layers(14), at(0.95, max_model_len=8192, max_num_seqs=128)),
    Case(
        "72B shape, 20 layers, fp8 KV, eager", INT8, layers(20),
        # From an fp8 cache FlashAttention 3 gives bfloat16 only.
        at(0.75, kv_cache_dtype="fp8", enforce_eager=True, dtype="bfloat16"),
    ),
    Case(
        "72B shape, 12 layers, 4096 tokens a step", INT8, layers(12),
        at(0.6, max_num_batched_tokens=4096, max_num_seqs=64, max_model_len=8192),
    ),
    Case("72B shape, 72 layers, 0.93, eager", INT8, layers(72), at(0.93, enforce_eager=True)),
    Case("7B bf16, 28 layers, 256 requests, eager", SEVEN, {}, at(0.5, max_num_seqs=256, enforce_eager=True)),
    Case(
        "72B shape, 8 layers, 4 GiB of KV, in pieces", INT8, layers(8),
        {**BASE, "kv_cache_memory": "4GiB", "optimization_level": 1},
    ),
    Case(
        "72B shape, 16 layers, graphs to 128", INT8, layers(16), at(0.7, max_num_seqs=128),
        options={"cudagraph-capture-sizes": [1, 8, 32, 64, 128]},
    ),
    Case("72B shape, all 80 layers, 0.85", INT8, {}, at(0.85)),
)  # fmt: skip
REFUSED = (
    Case(
        "weights beyond the budget", INT8, {}, at(0.45, enforce_eager=True),
        fits=False, cause="kv-cache-too-small",
    ),
    Case(
        "weights beyond the card", INT8, layers(170), at(0.95, enforce_eager=True),
        fits=False, cause="card-memory-loading",
    ),
    Case(
        "KV cache too small for the length", INT8, layers(8),
        {"max_model_len": 32768, "kv_cache_memory": "256MiB", "enforce_eager": True},
        fits=False, cause="kv-cache-too-small",
    ),
    Case(
        "more than the card has free", INT8, layers(8), at(0.999, enforce_eager=True),
        fits=False, cause="card-memory-taken",
    ),
)  # fmt: skip
# Fitting by themselves; what is done to them is in bench.gpu.main.
SPOILT = (
    Case("no compiler", INT8, layers(8), at(0.6), fits=False, cause="jit-no-compiler"),
    Case("another process holds the card", INT8, layers(8), at(0.6), fits=False, cause="card-memory-taken"),
)
# For 32 requests (vllm/config/vllm.py, _set_cudagraph_sizes).
ENGINES_OWN = [1, 2, 4, *range(8, 65, 8)]
# The same model with what a first start may save: sizes of graphs, graphs in pieces only, none and no compiled model.
CHOICES = (
    Case(
        "40 layers, the engine's own graphs", INT8, layers(40), at(0.8),
        options={"cudagraph-capture-sizes": ENGINES_OWN},
    ),
    Case("40 layers, graphs for 32 requests", INT8, layers(40), at(0.8), like=0),
    Case("40 layers, those in pieces only (-O1)", INT8, layers(40), at(0.8, optimization_level=1), like=0),
    Case("40 layers, none (-O0)", INT8, layers(40), at(0.8, optimization_level=0), like=0),
)  # fmt: skip

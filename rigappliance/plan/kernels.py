"""What the engine's kernels need of a card."""

from __future__ import annotations

# By quantisation method: Marlin's and FP8's lower bounds in vllm/model_executor/layers/quantization.
BY_METHOD = dict.fromkeys(("gptq", "gptq_marlin", "awq", "awq_marlin", "fp8"), (7, 5))
LEAST = (7, 0)
BFLOAT16 = (8, 0)
HOPPER = 9
FP8_E4M3 = ("fp8", "fp8_e4m3")


def least_capability(method: str | None, dtype: str) -> tuple[tuple[int, int], str]:
    """The least compute capability, and what for: a clause."""
    least = BY_METHOD.get(method or "", LEAST)
    reason = f"for {method}" if method in BY_METHOD else "for this engine"
    # Only where declared: with dtype auto the engine itself falls back to float16.
    if dtype == "bfloat16" and least < BFLOAT16:
        return BFLOAT16, "for engine.dtype bfloat16"
    return least, reason


def cache_refusal(kv_cache_dtype: str, dtype: str | None, capability: tuple[int, int] | None) -> str:
    """A clause where attention cannot read such a cache; empty where it can, or where nothing is known.

    On Hopper the engine takes FlashAttention 3, which reads an fp8 cache into bfloat16 alone (hopper/flash_api.cpp,
    mha_fwd). The engine starts all the same, and ends at the first request: seen on an H200, vLLM 0.32.0.
    """
    if kv_cache_dtype in FP8_E4M3 and dtype == "float16" and capability is not None and capability[0] == HOPPER:
        return f"attention on compute capability {dotted(capability)} reads an fp8 cache into bfloat16 alone"
    return ""


def activations_dtype(declared: str, of_model: str | None) -> str | None:
    """The type that the engine computes in: ``engine.dtype``, or what config.json says where that is auto."""
    return of_model.removeprefix("torch.") if declared == "auto" and of_model else declared


def dotted(capability: tuple[int, int]) -> str:
    return f"{capability[0]}.{capability[1]}"

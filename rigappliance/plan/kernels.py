"""The compute capability that the engine's kernels need."""

from __future__ import annotations

# By quantisation method: Marlin's and FP8's lower bounds in vllm/model_executor/layers/quantization.
BY_METHOD = dict.fromkeys(("gptq", "gptq_marlin", "awq", "awq_marlin", "fp8"), (7, 5))
LEAST = (7, 0)
BFLOAT16 = (8, 0)


def least_capability(method: str | None, dtype: str) -> tuple[tuple[int, int], str]:
    """The least compute capability, and what for: a clause."""
    least = BY_METHOD.get(method or "", LEAST)
    reason = f"for {method}" if method in BY_METHOD else "for this engine"
    # Only where declared: with dtype auto the engine itself falls back to float16.
    if dtype == "bfloat16" and least < BFLOAT16:
        return BFLOAT16, "for engine.dtype bfloat16"
    return least, reason


def dotted(capability: tuple[int, int]) -> str:
    return f"{capability[0]}.{capability[1]}"

"""Which steps are worth a captured graph.

A graph is captured for a number of tokens, and a smaller step is padded to the next.  A step of decoding has one token
a request, so none of them has more than ``max_num_seqs``; the engine's own sizes go up to twice that, for steps that
mix decoding with a little prefill (0.32.0, config/vllm.py, _set_cudagraph_sizes).  On links of PCIe x1 such a step is
bound by its all-reduces, and nothing is won by launching its kernels faster.
"""

from __future__ import annotations

from rigappliance.config import RigConfig

# From the first number on, a step between sizes: 8, 16, 24, 32, 48, ... A step that is padded has at most half of it,
# from 8 on, for nothing: 9 tokens run as 16.
STEPS = ((1, 1), (2, 2), (4, 4), (8, 8), (32, 16), (128, 32), (512, 64))
OPTION = "cudagraph-capture-sizes"
# Each of them says which sizes, or makes a step of decoding more than a token a request.
TOLD = {
    OPTION,
    "max-cudagraph-capture-size",
    "compilation-config",
    "performance-mode",
    "speculative-config",
    "spec-method",
    "spec-model",
    "spec-tokens",
}


def chosen_sizes(max_num_seqs: int, max_num_batched_tokens: int) -> tuple[int, ...]:
    """Sizes for all steps of decoding: 1, 2, 4, 8, 16, 24, 32 for 32 requests, and always the fullest step itself."""
    largest = min(max_num_seqs, max_num_batched_tokens)
    sizes, size = [], 1
    while size < largest:
        sizes.append(size)
        size += next(step for start, step in reversed(STEPS) if size >= start)
    return (*sizes, largest)


def recommended(config: RigConfig) -> tuple[int, ...] | None:
    """The sizes to tell the engine of ``config``; ``None`` where it captures nothing, or is told otherwise."""
    engine = config.engine
    told = {name.partition(".")[0].replace("_", "-") for name in engine.options}
    if engine.device != "cuda" or engine.enforce_eager or engine.optimization_level == 0 or told & TOLD:
        return None
    return chosen_sizes(engine.max_num_seqs, engine.max_num_batched_tokens or engine.max_num_seqs)

"""Whether a first start tunes its kernels on random tensors, which costs card memory.

The engine compiles by torch's `standalone_compile`, which has Inductor try the variants of each kernel while it
compiles, on random tensors of the arguments' whole sizes (torch, _inductor/standalone_compile.py and
codegen/wrapper.py, generate_and_run_autotune_block).  One kernel reads the embedding.  That happens within the profile
run of a first start, so its KV cache is smaller by a copy of the embedding than that of a second one, which compiles
nothing: 2376 of 2434 MiB of the profiled peak on an H100 (72B's shape, 2 layers, 2026-11-24), 0 of 438 MiB then.
Tuned when they first run, kernels are tried on the tensors that are there.
"""

from __future__ import annotations

from typing import Any

from rigappliance.config import RigConfig

OPTION = "compilation-config"
SETTINGS = "inductor_compile_config"
TUNE = "triton.autotune_at_compile_time"
# What the engine sets to true by itself (config/compilation.py): kernels that it combines are measured alone and
# combined, on random tensors too, though nearly every combination is made in the end.
COMBINE, MEASURE = "combo_kernels", "benchmark_combo_kernel"


def recommended(config: RigConfig) -> dict[str, Any] | None:
    """What to tell the engine so that it needs no copies; ``None`` where it compiles nothing, or is told otherwise."""
    engine = config.engine
    told = any(name.partition(".")[0].replace("_", "-") == OPTION for name in engine.options)
    if engine.device != "cuda" or engine.enforce_eager or engine.optimization_level == 0 or told:
        return None
    return {SETTINGS: {COMBINE: True, MEASURE: False, TUNE: False}}


def copies(config: RigConfig) -> bool:
    """Whether a first start makes them, by what is recommended or declared; by the engine's own default it does."""
    told = recommended(config) or next(
        (value for name, value in config.engine.options.items() if name.replace("_", "-") == OPTION), {}
    )
    settings = told.get(SETTINGS) if isinstance(told, dict) else None
    return not isinstance(settings, dict) or settings.get(TUNE) is not False

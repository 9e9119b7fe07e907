"""Whether a start measures its kernels, which costs card memory.

On a card the engine (0.32.0, config/compilation.py) has Inductor combine kernels and, before it does, measure each of
them alone and combined, on random tensors of their arguments' sizes.  One of them reads the embedding.  That happens
within the profile run of a first start, so the KV cache of that start is smaller by up to a copy of the embedding than
any later one's; and nearly every combination is made in the end, since small kernels always are.
"""

from __future__ import annotations

from typing import Any

from rigappliance.config import RigConfig

OPTION = "compilation-config"
SETTINGS = "inductor_compile_config"
COMBINE, MEASURE = "combo_kernels", "benchmark_combo_kernel"


def recommended(config: RigConfig) -> dict[str, Any] | None:
    """What to tell the engine so that it combines without measuring; ``None`` where it compiles nothing, or is told."""
    engine = config.engine
    told = any(name.partition(".")[0].replace("_", "-") == OPTION for name in engine.options)
    if engine.device != "cuda" or engine.enforce_eager or engine.optimization_level == 0 or told:
        return None
    return {SETTINGS: {COMBINE: True, MEASURE: False}}


def measures(config: RigConfig) -> bool:
    """Whether it does, by what is recommended or declared; the engine's own default is that it does."""
    told = recommended(config) or next(
        (value for name, value in config.engine.options.items() if name.replace("_", "-") == OPTION), {}
    )
    settings = told.get(SETTINGS) if isinstance(told, dict) else None
    if not isinstance(settings, dict) or not {COMBINE, MEASURE} & set(settings):
        return True
    return bool(settings.get(COMBINE)) and bool(settings.get(MEASURE))

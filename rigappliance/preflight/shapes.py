"""Do config.json and the weights belong together?"""

from __future__ import annotations

from collections.abc import Mapping

from rigappliance.facts.knownshapes import DIMENSIONS
from rigappliance.facts.model import ModelFacts
from rigappliance.preflight.finding import Finding, fail, ok


def check_shapes(model: ModelFacts, shapes: Mapping[str, tuple[int, ...]]) -> Finding | None:
    """Known tensors against the declared sizes; ``None`` where none was found."""
    wrong = []
    declared = {"vocab_size": model.vocab_size, "hidden_size": model.hidden_size}
    for name, shape in shapes.items():
        expected = tuple(declared[key] for key in DIMENSIONS[name])
        if None in expected or shape == expected:
            continue
        keys = " × ".join(DIMENSIONS[name])
        wrong.append(f"{name} has shape {list(shape)}, and config.json says {list(expected)} ({keys})")
    if wrong:
        return fail(
            "checkpoint.shapes",
            "; ".join(wrong),
            "config.json and shards of the same checkpoint",
            "bring config.json and shards from one place: `rigappliance fetch`",
        )
    return ok("checkpoint.shapes", "config.json fits the weights") if shapes else None

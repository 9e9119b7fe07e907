"""How a model is shared out and run: what times depend on besides the model and the machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rigappliance.plan.sharding.stages import stage_layers
from rigappliance.plan.times_model import Model

# How a step's kernels are launched: as one graph, as a graph between each two attentions, or one by one.
Graphs = Literal["full", "piecewise", "none"]


@dataclass(frozen=True)
class Split:
    """A model shared out as TP × PP. ``kv_bytes`` is the size of one value in the KV cache.

    ``graphs``: the engine's default is ``full``; until about 0.11 it was ``piecewise``.
    """

    tensor_parallel: int
    pipeline_parallel: int
    kv_bytes: int = 2
    graphs: Graphs = "full"

    @property
    def ranks(self) -> int:
        return self.tensor_parallel * self.pipeline_parallel

    def layers(self, model: Model) -> tuple[int, ...]:
        """Layers by stage; raises ``ImpossibleLayoutError`` for more stages than layers."""
        return tuple(len(layers) for layers in stage_layers(model.layers, self.pipeline_parallel))

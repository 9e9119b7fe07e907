"""What a step costs where processes outnumber cores.

Each worker launches its kernels, and then waits by spinning: for the engine's
messages a second long, for the card until it is done.  On two cores eight
workers and the engine core take turns, and whoever has something to do waits
for its turn.
"""

from __future__ import annotations

from rigappliance.plan.coefficients import Coefficients
from rigappliance.plan.times_inputs import Machine
from rigappliance.plan.times_model import Model
from rigappliance.plan.times_split import Graphs, Split

LAUNCH: dict[Graphs, str] = {"piecewise": "times.piecewise_cpu", "none": "times.eager_cpu"}


def cpu_s(model: Model, machine: Machine, split: Split, known: Coefficients) -> tuple[float, float]:
    """What a step takes longer than on fast cores enough: for work, and for waiting until a core is free.

    What fast cores take hides behind the card, or is part of ``times.layer_overhead``, which was measured on such.
    """
    each = known.number("times.worker_cpu")
    if split.graphs in LAUNCH:
        each += model.layers / split.pipeline_parallel * known.number(LAUNCH[split.graphs])
    work = split.ranks * each / machine.core_speed / min(machine.cores, split.ranks) - each
    # The engine core spins too.
    others = max(0.0, (split.ranks + 1) / machine.cores - 1)
    turns = known.number("times.turns_per_step") + split.pipeline_parallel - 1
    return max(0.0, work), turns * others * known.number("times.turn")

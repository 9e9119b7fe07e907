"""Starts that the card model was corrected by, planned anew by the model as it is now."""

from __future__ import annotations

from bench.gpu.cases import FITTED, Case
from bench.gpu.checkpoints import shape_with
from rigappliance.facts.gpu import CardFacts
from rigappliance.plan.arguments import EngineArguments
from rigappliance.plan.memory import MemoryPlan, plan_memory

# The card that they ran on, as NVML told it before anything did.
CARD = CardFacts(0, name="NVIDIA H100 80GB HBM3", memory_total_bytes=85520809984, memory_used_bytes=503316480)


def arguments_of(case: Case) -> EngineArguments:
    """What the engine was told then; it captured graphs of its own choice, and tuned its kernels on random tensors."""
    return EngineArguments(
        **{key: value for key, value in case.engine.items() if key in EngineArguments.__match_args__}
    )


def replanned(case: Case) -> MemoryPlan:
    return plan_memory(shape_with(case.model, **case.shape), arguments_of(case), [CARD])


def known(name: str) -> Case | None:
    return next((case for case in FITTED if case.name == name), None)

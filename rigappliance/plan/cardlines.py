"""The lines of one rank's memory: before the engine's snapshot, inside of its budget, and after."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil

from rigappliance.errors import PreflightError
from rigappliance.facts.gpu import CardFacts
from rigappliance.plan.activations import (
    graph_count,
    graphs_bytes,
    rows,
)
from rigappliance.plan.arguments import EngineArguments
from rigappliance.plan.chip import Chip, chip_of
from rigappliance.plan.coefficients import Coefficients, shipped
from rigappliance.plan.ledger import Line
from rigappliance.plan.profiled import Profile
from rigappliance.plan.sharding.marlin import locks_bytes
from rigappliance.plan.sharding.methods import MARKERS
from rigappliance.plan.sharding.ranks import RankWeights
from rigappliance.plan.sharding.stages import stage_layers
from rigappliance.plan.tensors import CheckpointShape
from rigappliance.units import format_size

# A card on which less is used is idle: nobody else's memory is this small.
IDLE_BYTES = 1 << 30
# Lines that the engine does not measure before it gives the rest to the cache, and the coefficients they rest on.
# Logs of different machines differ by a factor of two in each (their sources in coefficients.toml).
UNBUDGETED = {"cuda-context": "vram.cuda_context", "nccl": "vram.nccl", "graphs": "vram.graphs"}
# What is left of such a doubt once the number comes from this rig.
CALIBRATED = 0.1


@dataclass(frozen=True)
class RankMemory:
    """The lines of one rank, with room for the cache worked out but not yet given to it."""

    shape: CheckpointShape
    arguments: EngineArguments
    weights: RankWeights
    index: int
    card: CardFacts | int
    numbers: Coefficients
    partition: str | None = None

    @property
    def total_bytes(self) -> int:
        total = self.card if isinstance(self.card, int) else self.card.memory_total_bytes
        if total is None:
            raise PreflightError(
                f"card {self.index} does not say how much memory it has",
                "a card that NVML can ask",
                "see the findings of `rigappliance check` about this card",
            )
        return total

    @property
    def used_bytes(self) -> int | None:
        """What NVML counts as used before the engine comes, the driver's own part included; where it was asked."""
        return None if isinstance(self.card, int) else self.card.memory_used_bytes

    @property
    def kept_bytes(self) -> int:
        """What the driver keeps for itself: all that is used on an idle card, else as on other cards."""
        used = self.used_bytes
        return used if used is not None and 0 < used < IDLE_BYTES else self.numbers.size_bytes("vram.driver")

    @property
    def visible_bytes(self) -> int:
        """The total that CUDA reports: less than NVML's by what the driver keeps."""
        return self.total_bytes - self.kept_bytes

    @property
    def nccl_bytes(self) -> int:
        return self.numbers.size_bytes("vram.nccl") if self.arguments.ranks > 1 else 0

    @property
    def before(self) -> tuple[Line, ...]:
        """What is there before the engine takes its snapshot."""
        note = "kept by the driver" if self.used_bytes is None else "in use on this card now"
        return (
            Line("driver", max(self.used_bytes or 0, self.kept_bytes), "measured", note),
            Line("cuda-context", self.chip.context_bytes(self.numbers), "measured"),
            Line(
                "nccl", self.nccl_bytes, "measured", f"{self.arguments.ranks} ranks" if self.nccl_bytes else "one rank"
            ),
        )

    @property
    def last_stage(self) -> bool:
        return self.weights.stage == self.arguments.pipeline_parallel - 1

    @cached_property
    def chip(self) -> Chip:
        return chip_of(self.card)

    @property
    def marlin(self) -> bool:
        quantisation = self.shape.quantisation
        return bool(quantisation and quantisation.method in MARKERS)

    @property
    def marlin_bytes(self) -> int:
        return locks_bytes(self.chip.multiprocessors) if self.marlin else 0

    @cached_property
    def inside(self) -> tuple[Line, ...]:
        """What the engine counts against its budget, before the cache."""
        created, graphs, profile = self.weights.total_bytes, graph_count(self.arguments), self.profile
        kept = self.weights.after_loading_bytes
        note = self.weights.note or ("" if kept == created else f"{format_size(created, 2)} while they are loaded")
        return (
            Line("weights", kept, "derived", note),
            Line("marlin-workspace", self.marlin_bytes, "derived"),
            Line("non-torch", self.numbers.size_bytes("vram.non_torch"), "measured", "kernels and their workspaces"),
            Line("request-state", profile.request_state_bytes, "derived", f"of {self.arguments.max_num_seqs} requests"),
            Line("activations", profile.peak_bytes, "derived", profile.note),
            Line("allocator-slack", self.weights.slack_bytes, "derived", "segments not full, holes of dropped tensors"),
            Line("graphs", self.graphs_bytes, "measured", f"{graphs} captured"),
        )

    @cached_property
    def profile(self) -> Profile:
        return Profile(self.shape, self.arguments, self.weights, self.chip, self.last_stage, self.marlin)

    @property
    def graphs_bytes(self) -> int:
        stages = stage_layers(self.shape.layers, self.arguments.pipeline_parallel, self.partition)
        layers = len(stages[self.weights.stage])
        return graphs_bytes(self.arguments, self.numbers, layers, self.chip, marlin=self.marlin)

    @property
    def held(self) -> tuple[Line, ...]:
        """``inside`` as a serving card holds it: what a first start takes for a while, it does not."""
        step = replace(self.profile, first=False)
        line = Line("activations", step.peak_bytes, "derived", step.note)
        return tuple(line if one.name == line.name else one for one in self.inside)

    @property
    def budget_bytes(self) -> int:
        """As request_memory rounds it."""
        return ceil(self.visible_bytes * self.arguments.gpu_memory_utilization)

    @property
    def available_bytes(self) -> int:
        """`Available KV cache memory`; negative where not even the weights find room."""
        declared = self.arguments.kv_cache_memory_bytes
        return declared if declared is not None else self.budget_bytes - sum(line.size_bytes for line in self.inside)

    @property
    def after(self) -> tuple[Line, ...]:
        """What comes on top of the budget: what the profile run leaves out of its peak."""
        note = f"logits of {rows(self.arguments)} requests, beyond the profiled peak"
        return (
            Line("sampling", self.profile.sampling_bytes, "derived", note),
            Line("cublas-workspace", self.profile.workspace_bytes, "derived", "for the logits"),
        )

    @property
    def number(self) -> int:
        return self.index if isinstance(self.card, int) else self.card.index

    @property
    def owner(self) -> str:
        return f"card {self.number}"

    @property
    def refusal(self) -> str:
        """A start needs the whole budget free at its snapshot."""
        free = self.total_bytes - sum(line.size_bytes for line in self.before)
        if free >= self.budget_bytes:
            return ""
        return (
            f"{format_size(free, 2)} free on {self.owner} when the engine starts, "
            f"{format_size(self.budget_bytes, 2)} asked for by gpu_memory_utilization"
        )

    @property
    def doubts(self) -> tuple[Line, ...]:
        """How much more than the ledger says each line may take without the engine noticing while it budgets.

        Steps of ever other lengths also fragment what the allocator holds for activations.
        """
        lines = {line.name: line for line in (*self.before, *self.inside)}
        found = [
            Line(name, round(lines[name].size_bytes * self.share_in_doubt(coefficient)), "measured")
            for name, coefficient in UNBUDGETED.items()
        ]
        return (*found, Line("activations", self.profile.step_bytes, "derived", "fragmentation"))

    def share_in_doubt(self, coefficient: str) -> float:
        return 1.0 if self.numbers[coefficient] == shipped()[coefficient] else CALIBRATED

"""The lines of one rank's memory: before the engine's snapshot, inside of its budget, and after."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import ceil

from rigappliance.errors import PreflightError
from rigappliance.facts.gpu import CardFacts
from rigappliance.plan.activations import (
    activation_bytes,
    graph_count,
    graphs_bytes,
    request_state_bytes,
    rows,
    sampling_bytes,
)
from rigappliance.plan.arguments import EngineArguments
from rigappliance.plan.coefficients import Coefficients, shipped
from rigappliance.plan.ledger import Line
from rigappliance.plan.sharding.marlin import locks_bytes
from rigappliance.plan.sharding.methods import MARKERS
from rigappliance.plan.sharding.ranks import RankWeights
from rigappliance.plan.tensors import CheckpointShape, UnknownShapeError
from rigappliance.units import format_size

# Multiprocessors of the largest card; Marlin's locks are too small for the number to matter.
MULTIPROCESSORS = 192
# A card on which less is used is idle: nobody else's memory is this small.
IDLE_BYTES = 1 << 30
# Lines that the engine does not measure before it gives the rest to the cache, and the coefficients they rest on.
# Logs of different machines differ by a factor of two in each (their sources in coefficients.toml).
UNBUDGETED = {"cuda-context": "vram.cuda_context", "nccl": "vram.nccl", "graphs": "vram.graph"}
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
            Line("cuda-context", self.numbers.size_bytes("vram.cuda_context"), "measured"),
            Line(
                "nccl", self.nccl_bytes, "measured", f"{self.arguments.ranks} ranks" if self.nccl_bytes else "one rank"
            ),
        )

    @property
    def last_stage(self) -> bool:
        return self.weights.stage == self.arguments.pipeline_parallel - 1

    @property
    def marlin_bytes(self) -> int:
        quantisation = self.shape.quantisation
        return locks_bytes(MULTIPROCESSORS) if quantisation and quantisation.method in MARKERS else 0

    @cached_property
    def inside(self) -> tuple[Line, ...]:
        """What the engine counts against its budget, before the cache."""
        created, graphs = self.weights.total_bytes, graph_count(self.arguments)
        kept = self.weights.after_loading_bytes
        note = self.weights.note or ("" if kept == created else f"{format_size(created, 2)} while they are loaded")
        return (
            Line("weights", kept, "derived", note),
            Line("marlin-workspace", self.marlin_bytes, "derived"),
            Line("non-torch", self.numbers.size_bytes("vram.non_torch"), "measured", "kernels and their workspaces"),
            Line("request-state", self.request_state_bytes, "derived", f"of {self.arguments.max_num_seqs} requests"),
            Line(
                "activations",
                self.activations_bytes,
                "derived",
                f"a step of {self.arguments.max_num_batched_tokens} tokens",
            ),
            Line("allocator-slack", self.weights.slack_bytes, "derived", "segments not full, holes of dropped tensors"),
            Line("graphs", graphs_bytes(self.arguments, self.numbers), "measured", f"{graphs} captured"),
        )

    @property
    def request_state_bytes(self) -> int:
        try:
            return request_state_bytes(self.shape, self.arguments) if self.last_stage else 0
        except UnknownShapeError:
            return 0

    @property
    def activations_bytes(self) -> int:
        try:
            return activation_bytes(self.shape, self.arguments, last_stage=self.last_stage)
        except UnknownShapeError:
            return 0

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
    def sampling(self) -> Line:
        """The profile run samples without what requests may ask for; more than its peak comes on top of the budget."""
        try:
            beyond = sampling_bytes(self.shape, self.arguments) - self.activations_bytes if self.last_stage else 0
        except UnknownShapeError:
            beyond = 0
        note = f"logits of {rows(self.arguments)} requests, beyond the profiled peak"
        return Line("sampling", max(0, beyond), "derived", note)

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
        return (*found, Line("activations", self.activations_bytes, "derived", "fragmentation"))

    def share_in_doubt(self, coefficient: str) -> float:
        return 1.0 if self.numbers[coefficient] == shipped()[coefficient] else CALIBRATED

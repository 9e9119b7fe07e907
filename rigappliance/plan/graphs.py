"""What each choice of captured graphs costs in card memory and in the silent phase."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rigappliance.plan.activations import capture_sizes, graph_count, graphs_bytes
from rigappliance.plan.arguments import EngineArguments
from rigappliance.plan.capture import OPTION, chosen_sizes
from rigappliance.plan.coefficients import Coefficients
from rigappliance.plan.times_load import CAPTURE_LAYERS


@dataclass(frozen=True)
class GraphChoice:
    """One way to start. ``worst_padding`` is the largest share of a decode step's tokens that are there in vain.

    ``uncaptured`` says which decode steps run without a graph; ``card_bytes`` is for each card, and ``seconds`` for
    all ranks that share ``cores``.
    """

    name: str
    optimization_level: int
    sizes: tuple[int, ...]
    graphs: int
    card_bytes: int
    seconds: float
    worst_padding: float
    uncaptured: str

    @property
    def options(self) -> dict[str, list[int]]:
        """What the engine has to be told."""
        return {OPTION: list(self.sizes)} if self.sizes else {}


def worst_padding(sizes: tuple[int, ...], largest: int) -> float:
    """The largest share of a step of up to ``largest`` tokens that the next size pads; 0 beyond all sizes."""
    worst, before = 0.0, 0
    for size in sorted(sizes):
        if before < largest:
            worst = max(worst, (size - before - 1) / size)
        before = size
    return worst


def graph_choices(
    arguments: EngineArguments, layers: int, cores: int, numbers: Coefficients, core_speed: float = 1.0
) -> tuple[GraphChoice, ...]:
    """The engine's default first, then what is chosen for ``max_num_seqs``, then that in pieces only, then none.

    ``core_speed`` is relative to the core that ``times.capture_cpu`` was measured on.
    """
    default = replace(arguments, capture_sizes=None)
    sizes = chosen_sizes(arguments.max_num_seqs, arguments.max_num_batched_tokens)
    chosen = replace(arguments, capture_sizes=sizes)
    ways = (
        ("the engine's default", default, capture_sizes(default)),
        (f"sizes for {arguments.max_num_seqs} requests", chosen, sizes),
        ("those in pieces only (-O1)", replace(chosen, optimization_level=1), sizes),
        ("none (-O0)", replace(chosen, optimization_level=0), ()),
    )
    each_s = numbers.number("times.capture_cpu") * layers / CAPTURE_LAYERS
    ranks_in_turn = arguments.ranks / min(cores, arguments.ranks) / core_speed
    return tuple(
        GraphChoice(
            name=name,
            optimization_level=way.optimization_level,
            sizes=taken,
            graphs=graph_count(way),
            card_bytes=graphs_bytes(way, numbers, layers),
            # Measured for a size that is captured both ways; half of that for pieces or whole alone.
            seconds=graph_count(way) / 2 * each_s * ranks_in_turn,
            worst_padding=worst_padding(taken, arguments.max_num_seqs),
            uncaptured="all" if not taken else beyond(taken, arguments),
        )
        for name, way, taken in ways
    )


def beyond(sizes: tuple[int, ...], arguments: EngineArguments) -> str:
    largest = max(sizes)
    return f"of more than {largest} tokens" if largest < arguments.max_num_seqs else "none"

"""Which steps are worth a captured graph: what each choice costs in card memory and in the silent phase.

A graph is captured for a number of tokens, and a smaller step is padded to the next.  A step of decoding has one token
a request, so none of them has more than ``max_num_seqs``; the engine's own sizes go up to twice that, for steps that
mix decoding with a little prefill (0.32.0, config/vllm.py, _set_cudagraph_sizes).  On links of PCIe x1 such a step is
bound by its all-reduces, and nothing is won by launching its kernels faster.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from rigappliance.config import RigConfig
from rigappliance.plan.activations import capture_sizes, graph_count, graphs_bytes
from rigappliance.plan.arguments import EngineArguments, engine_arguments
from rigappliance.plan.coefficients import Coefficients
from rigappliance.plan.times_load import CAPTURE_LAYERS

# From the first number on, a step between sizes: 8, 16, 24, 32, 48, ... A step that is padded has at most half of it,
# from 8 on, for nothing: 9 tokens run as 16.
STEPS = ((1, 1), (2, 2), (4, 4), (8, 8), (32, 16), (128, 32), (512, 64))
OPTION = "cudagraph-capture-sizes"
# Each of them says which sizes, or makes a step of decoding more than a token a request.
TOLD = {OPTION, "max-cudagraph-capture-size", "compilation-config", "performance-mode", "speculative-config"}


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


def chosen_sizes(max_num_seqs: int, max_num_batched_tokens: int) -> tuple[int, ...]:
    """Sizes for all steps of decoding: 1, 2, 4, 8, 16, 24, 32 for 32 requests, and always the fullest step itself."""
    largest = min(max_num_seqs, max_num_batched_tokens)
    sizes, size = [], 1
    while size < largest:
        sizes.append(size)
        size += next(step for start, step in reversed(STEPS) if size >= start)
    return (*sizes, largest)


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
            card_bytes=graphs_bytes(way, numbers),
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


def recommended(config: RigConfig) -> tuple[int, ...] | None:
    """The sizes to tell the engine of ``config``; ``None`` where it captures nothing, or is told otherwise."""
    arguments = engine_arguments(config)
    told = {name.replace("_", "-") for name in config.engine.options}
    if config.engine.device != "cuda" or arguments.enforce_eager or arguments.optimization_level == 0 or told & TOLD:
        return None
    return chosen_sizes(arguments.max_num_seqs, arguments.max_num_batched_tokens)

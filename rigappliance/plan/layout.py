"""Every way to share a model out over a machine's cards: does it fit, how fast is it, what holds it up.

``Layout`` is one row of the table that a plan shows.  Whether a layout fits is
not decided here: the caller gives the ledgers' verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from rigappliance.errors import ConfigError
from rigappliance.plan.arguments import EngineArguments
from rigappliance.plan.coefficients import Coefficients
from rigappliance.plan.times import decode, prefill
from rigappliance.plan.times_inputs import Machine
from rigappliance.plan.times_load import load_s, silent_s
from rigappliance.plan.times_model import Model, Shape, model_of
from rigappliance.plan.times_split import Graphs, Split

# A prompt that fills one batch of the engine's default, and room for the conversation before it.
PROMPT_TOKENS = 2048


@dataclass(frozen=True)
class Verdict:
    """Whether a layout fits the memories. ``reason`` is a clause: the line that overflows, or what is left."""

    fits: bool
    reason: str = ""


@dataclass(frozen=True)
class Layout:
    """One TP × PP. ``decode_tokens_s`` is by concurrency, of all answers together.

    ``limit`` is what most of a decode step goes to at the concurrency that ranks
    the layouts, and ``limit_share`` how much of it; ``step_s`` has all shares, in
    seconds by name.
    """

    tensor_parallel: int
    pipeline_parallel: int
    load_s: float
    silent_s: float
    prefill_tokens_s: float
    decode_tokens_s: dict[int, float]
    limit: str
    limit_share: float
    step_s: dict[str, float]
    fits: bool
    reason: str

    @property
    def name(self) -> str:
        return f"TP {self.tensor_parallel} × PP {self.pipeline_parallel}"

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "decode_tokens_s": {str(key): value for key, value in self.decode_tokens_s.items()}}


def layouts(
    shape: Shape,
    machine: Machine,
    arguments: EngineArguments,
    fits: Callable[[EngineArguments], Verdict],
    known: Coefficients,
    *,
    concurrencies: Sequence[int] = (1, 8, 32),
    prompt_tokens: int = PROMPT_TOKENS,
    cached: bool = False,
) -> list[Layout]:
    """All layouts that the model allows, best first: those that fit, by decode at the first of ``concurrencies``.

    ``arguments`` are those of a start but for its layout.  ``cached``: an earlier
    start has compiled.  Raises ``ConfigError`` for a model whose shape is not
    known, and where no concurrency or an impossible one is asked for.
    """
    if not concurrencies or min(concurrencies) < 1:
        raise ConfigError(
            f"concurrency {', '.join(map(str, concurrencies)) or 'of nothing'}",
            "one request at a time, or more",
            "ask for 1 or more",
        )
    model = model_of(shape)
    found = [
        layout_of(model, machine, asked, fits(asked), known, tuple(concurrencies), prompt_tokens, cached)
        for asked in possible(model, machine.cards, arguments)
    ]
    first = concurrencies[0]
    return sorted(
        found,
        key=lambda layout: (
            not layout.fits,
            -layout.decode_tokens_s[first],
            -layout.prefill_tokens_s,
            layout.tensor_parallel * layout.pipeline_parallel,
        ),
    )


def possible(model: Model, cards: int, arguments: EngineArguments) -> Iterator[EngineArguments]:
    """The arguments of each layout that divides the model, and has a card for each rank."""
    for tensor_parallel in range(1, cards + 1):
        if not divides(model, tensor_parallel):
            continue
        for pipeline_parallel in range(1, min(cards // tensor_parallel, model.layers) + 1):
            yield replace(arguments, tensor_parallel=tensor_parallel, pipeline_parallel=pipeline_parallel)


def divides(model: Model, ranks: int) -> bool:
    """The engine's rules: whole heads, KV heads shared or copied evenly, no group of scales cut through."""
    heads = model.heads % ranks == 0 and (model.kv_heads % ranks == 0 or ranks % model.kv_heads == 0)
    # The inputs of the output and the down projection, which ranks share.
    inputs = (model.heads * model.head_dim, model.intermediate_size)
    return ranks == 1 or (heads and all(size % (ranks * model.group) == 0 for size in inputs))


def graphs_of(arguments: EngineArguments) -> Graphs:
    """What the engine captures at each optimisation level (config/vllm.py of 0.32.0)."""
    if arguments.enforce_eager or arguments.optimization_level == 0:
        return "none"
    return "piecewise" if arguments.optimization_level == 1 else "full"


def layout_of(
    model: Model,
    machine: Machine,
    arguments: EngineArguments,
    verdict: Verdict,
    known: Coefficients,
    concurrencies: tuple[int, ...],
    prompt_tokens: int,
    cached: bool,
) -> Layout:
    split = Split(
        arguments.tensor_parallel,
        arguments.pipeline_parallel,
        kv_bytes=1 if arguments.kv_cache_dtype.startswith("fp8") else 2,
        graphs=graphs_of(arguments),
    )
    speeds = {count: decode(model, machine, split, count, known) for count in concurrencies}
    ranked_by = speeds[concurrencies[0]]
    reading = prefill(model, machine, split, prompt_tokens, arguments.max_num_batched_tokens, known)
    return Layout(
        tensor_parallel=split.tensor_parallel,
        pipeline_parallel=split.pipeline_parallel,
        load_s=load_s(model, machine, split, known),
        silent_s=silent_s(model, machine, split, arguments, known, cached=cached),
        prefill_tokens_s=reading.tokens_s,
        decode_tokens_s={count: speed.tokens_s for count, speed in speeds.items()},
        limit=ranked_by.limit,
        limit_share=ranked_by.parts[ranked_by.limit] / sum(ranked_by.parts.values()),
        step_s={name: seconds for name, seconds in ranked_by.parts.items() if seconds},
        fits=verdict.fits,
        reason=verdict.reason,
    )

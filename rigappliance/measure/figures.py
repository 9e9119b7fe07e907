"""What the client measured, and the figures that are made of it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from rigappliance.errors import RequestFailedError

Kind = Literal["prefill", "decode"]
PERCENTILES = (50, 90, 99)


@dataclass(frozen=True)
class Sample:
    """One measurement. ``first_s``: time to first token of each request; ``gaps_s``: between tokens that follow.

    ``seconds`` and ``cpu_s`` are the client's own, with its preparations; ``duration_s`` is that of the requests.
    """

    duration_s: float
    input_tokens: int
    output_tokens: int
    first_s: tuple[float, ...]
    gaps_s: tuple[float, ...]
    seconds: float
    cpu_s: float


def sample_of(content: dict[str, Any], *, seconds: float, cpu_s: float) -> Sample:
    """From the client's file. Raises ``RequestFailedError`` where a request failed: the rates would be of fewer."""
    errors = [str(text) for text in content.get("errors", []) if text]
    if errors or content["failed"] or not content["completed"]:
        count = content["completed"] + content["failed"]
        reason = " ".join(errors[0].split())[:300] if errors else "no reason given"
        raise RequestFailedError(
            f"{content['failed']} of {count} requests of the benchmark failed: {reason}",
            "answers to all",
            "see `rigappliance status` and the engine's log",
        )
    return Sample(
        duration_s=float(content["duration"]),
        input_tokens=int(content["total_input_tokens"]),
        output_tokens=int(content["total_output_tokens"]),
        first_s=tuple(float(each) for each in content["ttfts"]),
        gaps_s=tuple(float(each) for request in content["itls"] for each in request),
        seconds=seconds,
        cpu_s=cpu_s,
    )


@dataclass(frozen=True)
class Figure:
    """All rounds of one kind at one concurrency.

    ``tokens_s``: tokens a second of all requests together, of each round: read in ``prefill``, written in ``decode``.
    ``typical_s``: of each round the median time to first token, or between tokens; ``percentiles_s``: of all requests
    or tokens, without those that so few values cannot tell; ``values``: how many.  ``client_share``: of the machine's
    CPU time, taken by the client.
    """

    kind: Kind
    concurrency: int
    tokens_s: tuple[float, ...]
    typical_s: tuple[float, ...]
    percentiles_s: dict[int, float]
    longest_s: float
    values: int
    client_share: float

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "percentiles_s": {str(key): value for key, value in self.percentiles_s.items()}}


def figure_from(content: dict[str, Any]) -> Figure:
    """Raises ``KeyError``, ``TypeError`` or ``ValueError`` for anything but a whole one."""
    figure = Figure(**content)
    return Figure(
        kind=figure.kind,
        concurrency=int(figure.concurrency),
        tokens_s=tuple(float(each) for each in figure.tokens_s),
        typical_s=tuple(float(each) for each in figure.typical_s),
        percentiles_s={int(key): float(value) for key, value in figure.percentiles_s.items()},
        longest_s=float(figure.longest_s),
        values=int(figure.values),
        client_share=float(figure.client_share),
    )


def figure_of(kind: Kind, concurrency: int, rounds: Sequence[Sample], cores: int) -> Figure:
    """Of one round or more on a machine with ``cores``."""
    times = [each.first_s if kind == "prefill" else each.gaps_s for each in rounds]
    tokens = [each.input_tokens if kind == "prefill" else each.output_tokens for each in rounds]
    pooled = sorted(value for values in times for value in values)
    return Figure(
        kind=kind,
        concurrency=concurrency,
        tokens_s=tuple(count / each.duration_s for count, each in zip(tokens, rounds, strict=True)),
        typical_s=tuple(statistics.median(values) for values in times if values),
        percentiles_s={p: percentile(pooled, p) for p in PERCENTILES if tells(len(pooled), p)},
        longest_s=pooled[-1] if pooled else 0.0,
        values=len(pooled),
        client_share=sum(each.cpu_s for each in rounds) / (sum(each.seconds for each in rounds) * cores),
    )


def tells(count: int, percent: int) -> bool:
    """Whether ``count`` values say something about a percentile: at least one has to lie beyond it."""
    return count > 0 and count * (100 - percent) >= 100


def percentile(ordered: Sequence[float], percent: int) -> float:
    """Between the two values next to it, in proportion."""
    place = (len(ordered) - 1) * percent / 100
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)

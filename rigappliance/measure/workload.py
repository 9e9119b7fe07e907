"""How much is measured: lengths of prompts and answers that a rig gets through in the time there is.

A step of the ladder is taken as a whole and never tuned further, because only runs of the same lengths compare.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rigappliance.measure.figures import Kind
from rigappliance.measure.session import Job

CONCURRENCIES = (1, 4, 16, 32)
# Several, so that a run knows its own spread, and taken in turn, so that a drift of the machine is in each figure.
ROUNDS = 3
# One request at a time says little about time to first token; this many of them do.
ALONE = 4
# "About ten minutes" and "about two", with what an estimate is usually off by.
FULL_S, QUICK_S = 720.0, 150.0


@dataclass(frozen=True)
class Lengths:
    """Tokens: of a prompt that is only read; of an answer that is written."""

    prompt: int
    answer: int


LADDER = (
    Lengths(1024, 256),
    Lengths(512, 128),
    Lengths(256, 64),
    Lengths(128, 32),
    Lengths(64, 16),
    Lengths(32, 16),
    Lengths(16, 8),
)
# Of the prompts before answers: so short that reading them is little of the time.
BEFORE = 8


@dataclass(frozen=True)
class Workload:
    concurrencies: tuple[int, ...]
    lengths: Lengths
    rounds: int = ROUNDS

    def jobs(self) -> Iterator[tuple[Kind, Job]]:
        """Those of one round."""
        for count in self.concurrencies:
            requests = count if count > 1 else ALONE
            yield "prefill", Job(count, requests, self.lengths.prompt, 1)
            yield "decode", Job(count, requests, BEFORE, self.lengths.answer)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def workload_from(content: dict[str, Any]) -> Workload:
    """Raises ``KeyError``, ``TypeError`` or ``ValueError`` for anything but a whole one."""
    counts = tuple(int(each) for each in content["concurrencies"])
    lengths = Lengths(**{name: int(value) for name, value in content["lengths"].items()})
    return Workload(counts, lengths, int(content["rounds"]))


@dataclass(frozen=True)
class Rates:
    """Tokens a second, of all requests together: prompts read, answers written by concurrency. ``basis``: a clause."""

    prefill: float
    decode: Mapping[int, float]
    basis: str

    def decode_at(self, concurrency: int) -> float:
        """Between two known concurrencies in proportion of their logarithms, beyond them as at the nearest."""
        known = sorted(self.decode)
        below = max((each for each in known if each <= concurrency), default=known[0])
        above = min((each for each in known if each >= concurrency), default=known[-1])
        if below == above:
            return self.decode[below]
        place = math.log(concurrency / below) / math.log(above / below)
        return self.decode[below] * math.pow(self.decode[above] / self.decode[below], place)

    def seconds(self, workload: Workload) -> float:
        """Of all rounds, without what the client needs for itself."""
        one = 0.0
        for _, job in workload.jobs():
            one += job.requests * (
                job.input_tokens / self.prefill + job.output_tokens / self.decode_at(job.concurrency)
            )
        return one * workload.rounds


def possible(max_num_seqs: int, kv_tokens: int | None, max_model_len: int) -> list[Workload]:
    """Those that this engine serves without letting requests wait, longest first. May be empty.

    ``kv_tokens``: of the whole KV cache; None where it is not known.
    """
    counts = tuple(count for count in CONCURRENCIES if count <= max_num_seqs)
    if max_num_seqs < CONCURRENCIES[-1] and max_num_seqs not in counts:
        counts = (*counts, max_num_seqs)
    found = []
    for lengths in LADDER:
        longest = max(lengths.prompt + 1, BEFORE + lengths.answer)
        if longest <= max_model_len and (kv_tokens is None or longest * counts[-1] <= kv_tokens):
            found.append(Workload(counts, lengths))
    return found


def chosen(candidates: Sequence[Workload], rates: Rates, limit_s: float) -> Workload:
    """The longest that is through in ``limit_s``; the shortest where none is."""
    return next((each for each in candidates if rates.seconds(each) <= limit_s), candidates[-1])

"""One run: what is measured, how long it will take, the rounds, and what is kept of them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from rigappliance.config import RigConfig
from rigappliance.errors import InterruptedStartError, RigError, UsageError
from rigappliance.facts.host import read_host_facts
from rigappliance.facts.model import read_model_facts
from rigappliance.launch.history import read_history
from rigappliance.launch.start import start_key
from rigappliance.measure.byhand import ByHand, by_hand
from rigappliance.measure.compare import RECENT
from rigappliance.measure.figures import Figure, Kind, Sample, figure_of
from rigappliance.measure.identity import run_key, run_settings
from rigappliance.measure.rates import believed, planned_rates, tried_jobs, tried_rates
from rigappliance.measure.record import Run, comparable, keep, prepare, read_runs
from rigappliance.measure.serving import Serving
from rigappliance.measure.session import Session
from rigappliance.measure.starts import StartPart, phases_of, start_parts
from rigappliance.measure.workload import BEFORE, FULL_S, QUICK_S, Rates, Workload, chosen, possible
from rigappliance.signals import handling
from rigappliance.units import format_duration

Say = Callable[[str], None]
Samples = dict[tuple[Kind, int], list[Sample]]


@dataclass(frozen=True)
class Report:
    """A run and the latest that it is held against. ``error``: what ended it early; ``path``: where it is kept."""

    run: Run
    earlier: tuple[Run, ...]
    starts: tuple[StartPart, ...]
    reference: ByHand | None
    error: RigError | None
    path: Path | None


@dataclass
class Notes:
    """Things beside the figures, each once."""

    texts: list[str]

    def add(self, text: str) -> None:
        if text not in self.texts:
            self.texts.append(text)


def bench(config: RigConfig, say: Say, *, quick: bool, kept: bool) -> Report:
    """Measure the engine that serves. Raises ``RigError`` where there is nothing to report."""
    serving = Serving(config)
    if kept:
        prepare(config.state_dir)
    started = time.time()
    host = read_host_facts(config.model.path.absolute())
    model = read_model_facts(config.model.path)
    start = start_key(config, model, host)
    key = run_key(start, config)
    limit_s = QUICK_S if quick else FULL_S
    candidates = candidates_of(config, serving)
    plan = planned_rates(config)
    if plan:
        first = chosen(candidates, plan, limit_s)
        say(f"about {format_duration(plan.seconds(first))}, {plan.basis}")
    else:
        say("the plan knows no times for this engine; a few requests will tell how long it takes")
    earlier = comparable(read_runs(config.state_dir), key, quick=quick)
    notes, samples = Notes([]), Samples()
    error: RigError | None = None
    workload: Workload | None = None
    began = time.monotonic()
    peak_bytes = 0
    with stoppable(), TemporaryDirectory(prefix="rigappliance-bench-") as directory:
        python = config.engine.python.absolute()
        with Session(
            python, serving.endpoint, serving.model, config.model.path, Path(directory), serving.alive
        ) as session:
            try:
                session.open()
                say(f"the engine's benchmark client is there after {format_duration(time.monotonic() - began)}")
                rates = tried(session, candidates[0].concurrencies[-1], plan)
                workload = agreed(candidates, earlier, rates, limit_s, notes)
                say(f"about {format_duration(rates.seconds(workload))} for {described(workload)}, {rates.basis}")
                began = time.monotonic()
                measure(session, serving, workload, samples, notes, say)
            except RigError as found:
                if not samples or workload is None:
                    raise
                error = found
            peak_bytes = session.peak_bytes
    run = Run(
        started=started,
        key=key,
        settings=run_settings(config, host),
        quick=quick,
        workload=workload,
        complete=error is None,
        seconds=time.monotonic() - began,
        figures=figures(samples),
        phases_s=phases_of(serving.state),
        client_peak_bytes=peak_bytes,
        notes=tuple(notes.texts),
    )
    return Report(
        run=run,
        earlier=tuple(each for each in earlier if each.workload.lengths == workload.lengths)[-RECENT:],
        starts=tuple(start_parts(serving.state, start, read_history(serving.directory))),
        reference=by_hand() if by_hand().of(model.tensor_bytes) else None,
        error=error,
        path=keep(config.state_dir, run) if kept else None,
    )


def stoppable() -> AbstractContextManager[None]:
    """A signal ends the measuring, not what is made of it."""

    def stop(signum: int, _: object) -> None:
        raise InterruptedStartError(f"stopped on {signal.Signals(signum).name} before all was measured")

    return handling(stop)


def candidates_of(config: RigConfig, serving: Serving) -> list[Workload]:
    tokens = serving.state.kv_tokens
    found = possible(config.engine.max_num_seqs, tokens, config.engine.max_model_len)
    if not found:
        raise UsageError(
            f"a KV cache of {tokens} tokens has no room for {config.engine.max_num_seqs} requests of 17 tokens",
            "room for what is measured",
            "lower engine.max_num_seqs, or give the KV cache more",
        )
    return found


def tried(session: Session, most: int, plan: Rates | None) -> Rates:
    """A few requests, of which no figure is kept."""
    jobs = tried_jobs(most)
    return believed(plan, tried_rates(jobs, (session.measure(jobs[0]), session.measure(jobs[1]))))


def agreed(
    candidates: Sequence[Workload], earlier: Sequence[Run], rates: Rates, limit_s: float, notes: Notes
) -> Workload:
    """That of the last run where it is through in about the time; only the same lengths compare."""
    last = earlier[-1].workload if earlier else None
    if last and last in candidates and rates.seconds(last) <= 2 * limit_s:
        return last
    workload = chosen(candidates, rates, limit_s)
    if last and last.lengths != workload.lengths:
        notes.add(
            "lengths differ from the last run's, which would take too long or find no room: no comparison with it"
        )
    return workload


def described(workload: Workload) -> str:
    lengths = workload.lengths
    return (
        f"{workload.rounds} rounds, prompts of {lengths.prompt} tokens, "
        f"answers of {lengths.answer} tokens to prompts of {BEFORE}"
    )


def measure(session: Session, serving: Serving, workload: Workload, samples: Samples, notes: Notes, say: Say) -> None:
    """All rounds, into ``samples``: each round has one of each, so that an early end leaves a whole table."""
    for number in range(workload.rounds):
        if serving.requests():
            notes.add("the engine had other requests at work while it was measured")
        for kind, job in workload.jobs():
            began = time.monotonic()
            samples.setdefault((kind, job.concurrency), []).append(session.measure(job))
            took = format_duration(time.monotonic() - began)
            say(f"round {number + 1} of {workload.rounds}: {kind}, {job.concurrency} at a time: {took}")


def figures(samples: Samples) -> tuple[Figure, ...]:
    cores = os.cpu_count() or 1
    return tuple(figure_of(kind, count, rounds, cores) for (kind, count), rounds in samples.items())

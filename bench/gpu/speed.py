"""How fast a started engine answers: the engine's own client, opened while the engine still starts."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.gpu.running import parsed, verb
from rigappliance.configfile import load_config
from rigappliance.endpoint import endpoint_of
from rigappliance.measure.figures import Kind, Sample, figure_of
from rigappliance.measure.session import Session
from rigappliance.measure.workload import CONCURRENCIES, Lengths, Workload

ROUNDS = 3
# Short: what differs is the time of a step, and a card costs by the second.
LENGTHS = Lengths(prompt=256, answer=48)
# The share that the client takes is of one core, on a machine of many.
CORES = 1


class Speed:
    """One client. It imports for as long as an engine does, so it is made when that is started.

    ``operators``: whether `rigappliance bench` measures it as well.
    """

    def __init__(
        self, config: Path, python: Path, checkpoint: Path, *, operators: bool,
        concurrencies: tuple[int, ...] = CONCURRENCIES,
    ) -> None:  # fmt: skip
        self.operators, self.concurrencies = operators, concurrencies
        self.directory = TemporaryDirectory(prefix="bench-speed-")
        endpoint = endpoint_of(load_config(config))
        self.session = Session(python, endpoint, "shape", checkpoint, Path(self.directory.name), lambda: None)

    def __call__(self, config: Path, state: dict[str, Any], processes: list[Any]) -> dict[str, Any]:
        began = time.monotonic()
        workload = Workload(self.concurrencies, LENGTHS, ROUNDS)
        samples: dict[tuple[Kind, int], list[Sample]] = {}
        with self.session as session:
            session.open()
            # Once for nothing: whatever is compiled or tuned for these shapes.
            for _, job in workload.jobs():
                session.measure(job)
            for _ in range(workload.rounds):
                for kind, job in workload.jobs():
                    samples.setdefault((kind, job.concurrency), []).append(session.measure(job))
        figures = [figure_of(kind, count, rounds, CORES).as_dict() for (kind, count), rounds in samples.items()]
        seconds = round(time.monotonic() - began, 1)
        return {"seconds": seconds, "figures": figures, "bench": operators(config) if self.operators else None}

    def close(self) -> None:
        self.session.__exit__(None, None, None)
        self.directory.cleanup()


def operators(config: Path) -> dict[str, Any]:
    answer = verb("bench", "-c", str(config), "--quick", "--json", limit_s=300)
    return {"status": answer["status"], "report": parsed(answer), "err": answer["err"][-4000:]}

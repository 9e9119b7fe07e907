"""Runs that were measured, a file each in ``state_dir/bench``, and which of them compare."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rigappliance.errors import UsageError
from rigappliance.launch.state import NONSENSE
from rigappliance.measure.figures import Figure, Kind, figure_from
from rigappliance.measure.workload import Workload, workload_from

DIRECTORY = "bench"
KEPT = 100
FORM = 1


@dataclass(frozen=True)
class Run:
    """One run. ``key``: machine, engine, model and layout, by name; ``settings``: what else may change the figures.

    ``seconds`` are those of the measurements; ``complete`` is false for one that was interrupted.
    """

    started: float
    key: dict[str, str]
    settings: dict[str, str]
    quick: bool
    workload: Workload
    complete: bool
    seconds: float
    figures: tuple[Figure, ...]
    phases_s: dict[str, float]
    client_peak_bytes: int
    notes: tuple[str, ...] = ()

    def figure(self, kind: Kind, concurrency: int) -> Figure | None:
        return next((each for each in self.figures if (each.kind, each.concurrency) == (kind, concurrency)), None)

    @property
    def date(self) -> str:
        """In the machine's own time zone, to the minute."""
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(self.started))

    def as_dict(self) -> dict[str, Any]:
        return {
            "form": FORM,
            "started": self.started,
            "key": self.key,
            "settings": self.settings,
            "quick": self.quick,
            "workload": self.workload.as_dict(),
            "complete": self.complete,
            "seconds": self.seconds,
            "figures": [each.as_dict() for each in self.figures],
            "phases_s": self.phases_s,
            "client_peak_bytes": self.client_peak_bytes,
            "notes": self.notes,
        }


def run_from(content: dict[str, Any]) -> Run:
    """Raises one of ``NONSENSE`` for anything but a whole run."""
    if content["form"] != FORM:
        raise ValueError("another form")
    return Run(
        started=float(content["started"]),
        key={str(name): str(value) for name, value in content["key"].items()},
        settings={str(name): str(value) for name, value in content["settings"].items()},
        quick=bool(content["quick"]),
        workload=workload_from(content["workload"]),
        complete=bool(content["complete"]),
        seconds=float(content["seconds"]),
        figures=tuple(figure_from(each) for each in content["figures"]),
        phases_s={str(name): float(value) for name, value in content["phases_s"].items()},
        client_peak_bytes=int(content["client_peak_bytes"]),
        notes=tuple(str(note) for note in content["notes"]),
    )


def comparable(runs: Iterable[Run], key: dict[str, str], *, quick: bool) -> list[Run]:
    """Those of the same machine, engine, model, layout and kind, oldest first."""
    return [each for each in runs if each.key == key and each.quick == quick]


def read_runs(state_dir: Path) -> list[Run]:
    """All that make sense, oldest first. Raises nothing."""
    runs = []
    for path in files(state_dir):
        with suppress(OSError, *NONSENSE):
            runs.append(run_from(json.loads(path.read_text(encoding="utf-8"))))
    return sorted(runs, key=lambda run: run.started)


def files(state_dir: Path) -> list[Path]:
    try:
        return sorted((state_dir / DIRECTORY).glob("*.json"))
    except OSError:
        return []


def prepare(state_dir: Path) -> None:
    """Before minutes are spent: raises ``UsageError`` where a run cannot be kept."""
    directory = state_dir / DIRECTORY
    trial = directory / ".trial"
    try:
        directory.mkdir(exist_ok=True)
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise UsageError(
            f"runs cannot be kept in {directory}: {error.strerror}",
            "the service's user or root",
            "run it with sudo, or with --no-keep",
        ) from error


def keep(state_dir: Path, run: Run) -> Path:
    """Write it, whole or not at all, and drop the oldest beyond ``KEPT``. Raises ``UsageError``."""
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(run.started))
    path = state_dir / DIRECTORY / f"{stamp}.{int(run.started * 1000) % 1000:03d}Z.json"
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_text(json.dumps(run.as_dict(), indent=1) + "\n", encoding="utf-8")
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise UsageError(f"{path} cannot be written: {error.strerror}", "a disk with room", "make room") from error
    for old in files(state_dir)[:-KEPT]:
        with suppress(OSError):
            old.unlink()
    return path

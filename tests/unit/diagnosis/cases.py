"""Ends of engines as data: what was seen, and the cause that it has to be given."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rigappliance.diagnosis.diagnose import diagnose
from rigappliance.diagnosis.logevidence import LogEvidence
from rigappliance.diagnosis.logreader import LogReader
from rigappliance.diagnosis.observations import DeadPart, MemoryEvidence, Observations
from rigappliance.diagnosis.result import Diagnosis
from rigappliance.diagnosis.signature import Signature
from rigappliance.diagnosis.signatures import SIGNATURES
from rigappliance.launch.phases import LABELS, Phase

DIRECTORY = Path(__file__).parent / "cases"
RECORDINGS = Path(__file__).resolve().parents[2] / "recordings"

# A real start, up to the line that is named: what stands before a failure of that time.
UNTIL = {
    "config": "Resolved architecture",
    "workers": "rank 0 in world size",
    "weights": "Loading safetensors checkpoint shards:  ",
    "profiling": "Warming up model for the compilation",
    "serving": '"POST /v1/chat/completions',
}
PHASES = {label: phase for phase, label in LABELS.items()} | {"serving": Phase.READY}


@dataclass(frozen=True)
class Case:
    """``cause`` is what has to be found; ``evidence`` stands in the evidence, ``remedy`` in the remedy."""

    name: str
    cause: str
    evidence: str
    remedy: str
    confidence: str
    tree: dict[str, Any]

    def log(self, signatures: tuple[Signature, ...] = SIGNATURES) -> LogEvidence:
        reader = LogReader(signatures)
        for line in self.lines():
            reader.feed(line)
        return reader.evidence()

    def lines(self) -> list[str]:
        lines = [] if "start" not in self.tree else start_until(self.tree["start"])
        if "recording" in self.tree:
            lines = lines + recording(self.tree["recording"])
        return [*lines, *str(self.tree.get("log", "")).splitlines()]

    def seen(self, signatures: tuple[Signature, ...] = SIGNATURES) -> Observations:
        tree = self.tree
        start = tree.get("start", "process start")
        known = {"start", "recording", "log", "cause", "evidence", "remedy", "confidence", "memory", "dead_parts"}
        rest: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in tree.items()
            if name not in known
        }
        rest["phase"] = PHASES[tree.get("phase", start)]
        rest.setdefault("ready", start == "serving")
        return Observations(
            log=self.log(signatures),
            memory=MemoryEvidence(**tree.get("memory", {})),
            dead_parts=tuple(DeadPart(**part) for part in tree.get("dead_parts", [])),
            **rest,
        )

    def diagnosis(self) -> Diagnosis:
        return diagnose(self.seen())


@cache
def recording(name: str) -> list[str]:
    return (RECORDINGS / name).read_bytes().decode(errors="replace").split("\n")


@cache
def start_until(when: str) -> list[str]:
    lines = recording("first-start.log")
    last = next(number for number, line in enumerate(lines) if UNTIL[when] in line)
    return lines[: last + 1]


@cache
def cases() -> tuple[Case, ...]:
    return tuple(read(path) for path in sorted(DIRECTORY.glob("*.toml")))


def read(path: Path) -> Case:
    tree = tomllib.loads(path.read_text())
    return Case(
        name=path.stem,
        cause=tree["cause"],
        evidence=tree.get("evidence", ""),
        remedy=tree.get("remedy", ""),
        confidence=tree.get("confidence", ""),
        tree=tree,
    )

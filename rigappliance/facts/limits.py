"""Limits of a process: of this one, and those that the service's unit gives to its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rigappliance.facts.host import read_text
from rigappliance.facts.unitfile import unit_settings

WANTED = ("LimitNOFILE", "LimitMEMLOCK", "MemoryMax", "MemoryHigh")


@dataclass(frozen=True)
class Limit:
    """``None`` is no limit."""

    soft: int | None
    hard: int | None


@dataclass(frozen=True)
class LimitFacts:
    """``nofile`` and ``memlock`` (bytes) of this process, ``None`` where unknown; ``unit`` as its files say it."""

    nofile: Limit | None = None
    memlock: Limit | None = None
    unit: Mapping[str, str] | None = None


def read_limit_facts(root: Path = Path("/")) -> LimitFacts:
    """Raises nothing. ``unit`` is ``None`` where none is installed."""
    text = read_text(root / "proc/self/limits") or ""
    return LimitFacts(
        nofile=parse_limit(text, "Max open files"),
        memlock=parse_limit(text, "Max locked memory"),
        unit=read_unit(root),
    )


def parse_limit(text: str, name: str) -> Limit | None:
    """One line of ``/proc/self/limits``."""
    match = re.search(rf"^{name}\s+(\d+|unlimited)\s+(\d+|unlimited)\s", text, re.MULTILINE)
    if match is None:
        return None
    soft, hard = (None if value == "unlimited" else int(value) for value in match.groups())
    return Limit(soft, hard)


def read_unit(root: Path) -> dict[str, str] | None:
    """The settings of the unit that bound its processes; ``None`` where there is no unit."""
    settings = unit_settings(root)
    return None if settings is None else {name: value for name, value in settings if name in WANTED}

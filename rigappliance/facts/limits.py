"""Limits of a process: of this one, and those that the service's unit gives to its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rigappliance.facts.host import read_text

UNIT = "rigappliance.service"
# The first that has the unit wins; drop-ins of all count. `systemctl set-property` writes to the last two.
UNIT_DIRECTORIES = (
    "etc/systemd/system",
    "run/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
)
DROP_IN_DIRECTORIES = (*reversed(UNIT_DIRECTORIES), "run/systemd/system.control", "etc/systemd/system.control")
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
    """The settings of the unit that bound its processes, drop-ins applied; ``None`` where there is no unit."""
    place = next((root / where / UNIT for where in UNIT_DIRECTORIES if (root / where / UNIT).is_file()), None)
    if place is None:
        return None
    by_name: dict[str, Path] = {}
    for where in DROP_IN_DIRECTORIES:
        # Of two drop-ins of one name the one in the more important directory hides the other.
        by_name |= {file.name: file for file in sorted((root / where / f"{UNIT}.d").glob("*.conf"))}
    found: dict[str, str] = {}
    for file in (place, *(by_name[name] for name in sorted(by_name))):
        for name, value in re.findall(r"^\s*(\w+)\s*=\s*(.*?)\s*$", read_text(file) or "", re.MULTILINE):
            if name in WANTED:
                found[name] = value
    return found

"""Does the CPU have what the engine's libraries are compiled for?"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from rigappliance.config import RigConfig
from rigappliance.facts.host import CpuFacts
from rigappliance.preflight.finding import Finding, fail, ok, warn

DATA = Path(__file__).parent / "data" / "cpu-features.toml"


@dataclass(frozen=True)
class Need:
    """A library that asks for a feature. ``effect``: the engine ``dies`` without, or ``avoids`` the library."""

    feature: str
    library: str
    devices: tuple[str, ...]
    effect: Literal["dies", "avoids"]


@cache
def needs() -> tuple[Need, ...]:
    """Those of the data file."""
    entries = tomllib.loads(DATA.read_text(encoding="utf-8")).get("need", [])
    return tuple(Need(e["feature"], e["library"], tuple(e["devices"]), e["effect"]) for e in entries)


def check_cpu(config: RigConfig, cpu: CpuFacts, known: Iterable[Need] | None = None) -> Finding:
    """The CPU's flags against ``known`` needs, those of the data file by default."""
    name = cpu.model or "the CPU"
    if not cpu.flags:
        return warn("engine.cpu", f"{name} does not tell its features", "/proc/cpuinfo", "mount /proc")
    if "lm" not in cpu.flags:
        # The table is about x86-64; other architectures have other libraries.
        return ok("engine.cpu", name)
    relevant = [need for need in (needs() if known is None else known) if config.engine.device in need.devices]
    missing = [need for need in relevant if need.feature not in cpu.flags]
    if not missing:
        return ok("engine.cpu", f"{name} has what the engine's libraries need")
    found = f"{name} has no {', no '.join(sorted({need.feature for need in missing}))}"
    expected = "; ".join(f"{need.feature} for {need.library}" for need in missing)
    if any(need.effect == "dies" for need in missing):
        remedy = "use a CPU that has it, or cards: set engine.device to cuda" if config.engine.device == "cpu" else ""
        return fail("engine.cpu", found, expected, remedy or "use a CPU that has it")
    return warn("engine.cpu", found, expected, "nothing has to be done: the engine does without these libraries")

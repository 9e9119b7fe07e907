"""How a card is: who uses it, what it may draw, what slows it down, and which errors its memory had.

The numbers are NVML's (nvml.h of the driver); a function that a card does not
have leaves its fact ``None``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rigappliance.facts.host import one_line
from rigappliance.facts.nvml import as_integer, ask

COMPUTE_MODES = {0: "default", 1: "exclusive thread", 2: "prohibited", 3: "exclusive process"}
SLOWDOWN_THRESHOLD = 1
UNCORRECTED, SINCE_DRIVER_START = 1, 0
# Bits of nvmlClocksEventReasons that tell of heat or of the supply; the others are idling and limits that are set.
SLOWED_BY = {0x08: "hardware slowdown", 0x20: "heat (driver)", 0x40: "heat (hardware)", 0x80: "the power supply"}


@dataclass(frozen=True)
class CardProcess:
    """A process that computes on a card; ``used_bytes`` is ``None`` where the driver does not tell."""

    pid: int
    name: str | None = None
    used_bytes: int | None = None


@dataclass(frozen=True)
class CardHealth:
    """``pages_pending``: bad memory waits for a reset to be replaced. ``slowed_by``: reasons at this moment."""

    processes: tuple[CardProcess, ...] | None = None
    compute_mode: str | None = None
    persistence: bool | None = None
    ecc: bool | None = None
    ecc_uncorrected: int | None = None
    pages_pending: bool | None = None
    remap_failed: bool | None = None
    temperature_slowdown_c: int | None = None
    power_default_w: float | None = None
    power_least_w: float | None = None
    power_most_w: float | None = None
    slowed_by: tuple[str, ...] | None = None


def read_health(nvml: Any, handle: Any, root: Path) -> CardHealth:
    """The health of one card. Raises nothing."""
    mode = as_integer(ask(nvml, "nvmlDeviceGetComputeMode", handle))
    persistence = as_integer(ask(nvml, "nvmlDeviceGetPersistenceMode", handle))
    ecc = ask(nvml, "nvmlDeviceGetEccMode", handle)
    limits = ask(nvml, "nvmlDeviceGetPowerManagementLimitConstraints", handle)
    rows = ask(nvml, "nvmlDeviceGetRemappedRows", handle)
    return CardHealth(
        processes=read_processes(nvml, handle, root),
        compute_mode=None if mode is None else COMPUTE_MODES.get(mode, f"mode {mode}"),
        persistence=None if persistence is None else persistence == 1,
        ecc=bool(ecc[0]) if ecc else None,
        ecc_uncorrected=as_integer(ask(nvml, "nvmlDeviceGetTotalEccErrors", handle, UNCORRECTED, SINCE_DRIVER_START)),
        pages_pending=pages_pending(as_integer(ask(nvml, "nvmlDeviceGetRetiredPagesPendingStatus", handle)), rows),
        remap_failed=bool(rows[3]) if rows else None,
        temperature_slowdown_c=as_integer(
            ask(nvml, "nvmlDeviceGetTemperatureThreshold", handle, SLOWDOWN_THRESHOLD),
        ),
        power_default_w=watts(ask(nvml, "nvmlDeviceGetPowerManagementDefaultLimit", handle)),
        power_least_w=watts(limits[0]) if limits else None,
        power_most_w=watts(limits[1]) if limits else None,
        slowed_by=slowed_by(as_integer(clock_reasons(nvml, handle))),
    )


def read_processes(nvml: Any, handle: Any, root: Path) -> tuple[CardProcess, ...] | None:
    """Those that compute; a desktop's that only draw are no concern of the engine's beyond their memory."""
    answer = ask(nvml, "nvmlDeviceGetComputeRunningProcesses", handle)
    if answer is None:
        return None
    return tuple(
        CardProcess(entry.pid, one_line(root / f"proc/{entry.pid}/comm"), as_integer(entry.usedGpuMemory))
        for entry in answer
    )


def pages_pending(retired: int | None, rows: Any) -> bool | None:
    """Older cards retire pages, newer ones remap rows; each knows one of the two."""
    known = [*([retired == 1] if retired is not None else []), *([bool(rows[2])] if rows else [])]
    return any(known) if known else None


def clock_reasons(nvml: Any, handle: Any) -> Any:
    # The older name is that of drivers before 535.
    names = ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons")
    return next((answer for name in names if (answer := ask(nvml, name, handle)) is not None), None)


def slowed_by(reasons: int | None) -> tuple[str, ...] | None:
    return None if reasons is None else tuple(words for bit, words in SLOWED_BY.items() if reasons & bit)


def watts(milliwatts: object) -> float | None:
    value = as_integer(milliwatts)
    return None if value is None else value / 1000

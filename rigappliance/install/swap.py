"""Leaving a swap file: through the verb that made it, which knows what is its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rigappliance.errors import PreflightError
from rigappliance.install.host import Host
from rigappliance.install.manifest import Manifest, SwapFile
from rigappliance.install.steps import Command, Step
from rigappliance.render.plainhost import UNIT_DIRECTORY
from rigappliance.render.systemd import ENGINE, SWAP
from rigappliance.swapfile.declared import partial_of


@dataclass(frozen=True)
class Left:
    steps: tuple[Step, ...] = ()
    notes: tuple[str, ...] = ()


def leave_swap(host: Host, previous: Manifest | None, manifest: Manifest, active: frozenset[str]) -> Left:
    """Disable and remove what ``previous`` swaps to and ``manifest`` does not.

    Raises ``PreflightError`` while the engine runs: its pages would have to fit the RAM.
    """
    kept = {swap.path for swap in manifest.swaps}
    old = [swap for swap in (previous.swaps if previous else ()) if swap.path not in kept and is_there(host, swap.path)]
    if not old:
        return Left()
    if ENGINE in active:
        raise PreflightError(
            f"the engine runs, with its pages in {old[0].path}, which the configuration no longer names",
            "a stopped engine, before its swap file goes",
            f"systemctl stop {ENGINE}, then install again",
        )
    # Where there is no swap any more, the unit is stopped with the others that go.
    stop = SWAP in manifest.units and host.at(UNIT_DIRECTORY / SWAP).exists()
    stops: tuple[Step, ...] = (Command(("systemctl", "stop", SWAP)),) if stop else ()
    off = swap_off(host, old)
    return Left((*stops, *off.steps), off.notes)


def swap_off(host: Host, swaps: Iterable[SwapFile]) -> Left:
    """Disable the swap files, and remove those that came with the installation."""
    steps, notes = [], []
    for swap in swaps:
        if not is_there(host, swap.path):
            continue
        # Not by way of the configuration, which may name another file by now.
        named = ("env", f"RIGAPPLIANCE_MEMORY__SWAP_FILE={swap.path}", str(host.program), "swap", "off")
        steps.append(Command((*named, "--delete") if swap.made else named))
        if not swap.made:
            notes.append(f"{swap.path} stays: it was there before the installation")
    return Left(tuple(steps), tuple(notes))


def is_there(host: Host, file: Path) -> bool:
    """Whether there is a swap file, whole or begun."""
    return host.at(file).exists() or host.at(partial_of(file)).exists()

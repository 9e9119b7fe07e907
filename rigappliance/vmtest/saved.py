"""Saved states: a guest that was brought somewhere once, and wakes up there in a fraction of a second."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from rigappliance.vmtest import cache
from rigappliance.vmtest.errors import BootError
from rigappliance.vmtest.image import Recipe, image
from rigappliance.vmtest.machine import Machine
from rigappliance.vmtest.origin import MEMORY, Origin
from rigappliance.vmtest.qemu import Hardware

BOOT_TIMEOUT_S = 600


def booted(recipe: Recipe | None = None, hardware: Hardware | None = None) -> Origin:
    """A guest whose boot is over, made where it is not in the cache yet."""
    return advanced(Origin(image(recipe), hardware or Hardware()), "booted", wait_booted)


def advanced(origin: Origin, key: str, bring: Callable[[Machine], None]) -> Origin:
    """Where ``bring`` takes a machine from ``origin``, saved. ``key`` names all that ``bring`` does and uses."""

    def make(directory: Path) -> None:
        with Machine(origin, name="making") as machine:
            machine.start()
            bring(machine)
            machine.save(directory)

    state = cache.entry("state", cache.key_of(origin.key, key), make, whole=_whole)
    parents = origin.parents if origin.state is None else (*origin.parents, origin.state)
    return dataclasses.replace(origin, state=state, parents=parents)


def wait_booted(machine: Machine) -> None:
    """Wait until all of the boot is done. Raises ``BootError`` naming the units that failed."""
    state = machine.execute("systemctl is-system-running --wait", timeout=BOOT_TIMEOUT_S)[1].strip()
    if state != "running":
        failed = machine.execute("systemctl --failed --no-legend --plain")[1].strip()
        raise BootError(f"the guest is {state}: {failed}", "running, without failed units", f"see {machine.logs()}")
    machine.succeed("udevadm settle")


def _whole(directory: Path) -> bool:
    return (directory / MEMORY).is_file() and (directory / "disk.qcow2").is_file()

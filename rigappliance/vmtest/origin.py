"""Where a machine begins: an image to boot, or a saved state to wake up."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from rigappliance.vmtest import cache, qemu
from rigappliance.vmtest.image import Image
from rigappliance.vmtest.qemu import Hardware

MEMORY = "memory"


@dataclass(frozen=True)
class Origin:
    """An image on hardware, and the directory of a saved state where there is one.

    ``parents`` are the cache's entries that its files build upon.  ``on_wake``
    is a command that a machine runs as soon as it woke up; a ``cold`` one boots
    the disk of the saved state instead.
    """

    image: Image
    hardware: Hardware = field(default_factory=Hardware)
    accelerator: str = field(default_factory=qemu.accelerator)
    state: Path | None = None
    parents: tuple[Path, ...] = ()
    on_wake: str = ""
    cold: bool = False

    @property
    def disk(self) -> Path:
        """The disk that overlays are laid over."""
        return self.image.disk if self.state is None else self.state / "disk.qcow2"

    @property
    def disk_format(self) -> str:
        return "raw" if self.state is None else "qcow2"

    @property
    def memory(self) -> Path | None:
        """The saved memory and devices."""
        return None if self.state is None else self.state / MEMORY

    @property
    def console(self) -> Path | None:
        """What the guest had written on its console when it was saved."""
        return None if self.state is None else self.state / "console.log"

    @property
    def entries(self) -> tuple[Path, ...]:
        """All entries of the cache that have to stay while a machine runs from here."""
        own = () if self.state is None else (self.state,)
        return (self.image.directory, *self.parents, *own)

    @property
    def key(self) -> str:
        """Name of everything that a state saved from here depends on."""
        before = cache.identity(self.image.directory if self.state is None else self.state)
        arguments = qemu.machine_arguments(self.image, self.hardware, self.accelerator)
        return cache.key_of(before, arguments, qemu.version())

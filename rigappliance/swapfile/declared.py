"""What the configuration says about swap."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from rigappliance.config import RigConfig
from rigappliance.errors import ConfigError
from rigappliance.units import SIZE_UNITS, format_size

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
LEAST_BYTES = SIZE_UNITS["MiB"]
# The header counts pages in 32 bits.
MOST_BYTES = 2**32 * PAGE_BYTES


@dataclass(frozen=True)
class Declared:
    """``size_bytes`` is a whole number of pages, and 0 where no swap file is declared."""

    file: Path
    size_bytes: int
    priority: int


def declared_swap(config: RigConfig) -> Declared:
    """The swap file of ``config``. Raises ``ConfigError`` for a size or a name that no swap file can have."""
    memory = config.memory
    if memory.swap and not LEAST_BYTES <= memory.swap <= MOST_BYTES:
        raise ConfigError(
            f"memory.swap is {format_size(memory.swap)}",
            f"0B for no swap file, or {format_size(LEAST_BYTES)} to {format_size(MOST_BYTES)}",
            "correct memory.swap",
        )
    if memory.swap_file.name in ("", ".."):
        raise ConfigError(
            f"memory.swap_file is {str(memory.swap_file)!r}", "the path of a file", "correct memory.swap_file"
        )
    return Declared(memory.swap_file.absolute(), memory.swap - memory.swap % PAGE_BYTES, memory.swap_priority)


def partial_of(file: Path) -> Path:
    """The name under which ``file`` is made."""
    return file.with_name(f"{file.name}.partial")

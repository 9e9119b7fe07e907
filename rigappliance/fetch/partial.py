"""Files that `hf` has begun. It gives each a name of its own and never takes one up again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

# The eight digits are new for every try; other releases of hf leave them out and go on with what they find.
BEGUN = re.compile(r".+\.[0-9a-f]{8}\.incomplete")


def partial_files(directory: Path) -> Iterator[Path]:
    for path in (directory / ".cache/huggingface/download").rglob("*.incomplete"):
        if BEGUN.fullmatch(path.name):
            yield path


def partial_bytes(directory: Path) -> int:
    """What lies on the disk of them now."""
    total = 0
    for path in partial_files(directory):
        # It may just have become the file.
        with suppress(OSError):
            total += path.stat().st_size
    return total


def remove_leftovers(directory: Path) -> None:
    """Give back the space of those that a power cut or a kill has left. For the lock's holder alone."""
    for path in list(partial_files(directory)):
        with suppress(OSError):
            path.unlink()

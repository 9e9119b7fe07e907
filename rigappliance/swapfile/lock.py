"""One at a time works on a swap file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rigappliance.errors import BusyError
from rigappliance.exclusive import taken


@contextmanager
def only_one(file: Path) -> Iterator[None]:
    """Holds the lock for ``file``. Raises ``BusyError`` where another process holds it.

    It lies on the directory, which outlives the renaming of the file, needs no lock
    file that somebody would have to remove, and is free again when the holder dies.
    """
    fd = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if not taken(fd):
            raise BusyError(
                f"another `rigappliance swap` works on {file}",
                "one at a time",
                "wait for it: `rigappliance swap status` shows how far it is",
            )
        yield
    finally:
        os.close(fd)

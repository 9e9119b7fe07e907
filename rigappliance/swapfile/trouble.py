"""What the system refuses, as an error that an operator can act on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rigappliance.errors import PreflightError


@contextmanager
def refusals_told(file: Path) -> Iterator[None]:
    """Turns an ``OSError`` about ``file`` into a ``PreflightError``."""
    try:
        yield
    except OSError as error:
        raise PreflightError(
            f"{error.filename or file}: {error.strerror or error}",
            f"a place where root can make and enable the swap file {file}",
            "mend that, or set memory.swap_file to another path",
        ) from error

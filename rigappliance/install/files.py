"""Files as a whole: written in one step or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from rigappliance.errors import PreflightError

MODE = 0o644


def content(path: Path) -> str | None:
    """The text of a plain file, ``None`` where there is none.

    Raises ``PreflightError`` for anything else of that name: what is no plain file
    with text was not written by an installation.
    """
    if not os.path.lexists(path):
        return None
    if path.is_symlink() or not path.is_file():
        raise PreflightError(
            f"{path} is no plain file", "a file, or nothing", "move it away (`systemctl unmask` for a masked unit)"
        )
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise PreflightError(f"{path} is not UTF-8 text", "a file that install wrote", "move it away") from error
    except OSError as error:
        raise PreflightError(
            f"cannot read {path}: {error.strerror}", "a file that may be read", "look with sudo, or mend its mode"
        ) from error


def part_of(path: Path) -> Path:
    """Where the new content of ``path`` is written first, so that what a power cut leaves has a known name."""
    return path.with_name(f".{path.name}.rigappliance-part")


def write_whole(path: Path, text: str) -> None:
    """Replace the content of ``path``; after a power cut it is the old or the new one. Raises ``OSError``."""
    part = part_of(path)
    part.unlink(missing_ok=True)
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, MODE)
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            # The caller's umask may be stricter than the readers of the file can bear.
            os.fchmod(file.fileno(), MODE)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def remove(path: Path) -> None:
    """Remove ``path`` and what an interrupted writing left beside it. Raises ``OSError``."""
    for name in (path, part_of(path)):
        name.unlink(missing_ok=True)
    # Gone with its directory is gone too.
    with suppress(FileNotFoundError):
        sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

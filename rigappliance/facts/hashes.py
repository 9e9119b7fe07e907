"""Are the checkpoint's bytes those that the hub has? Compared with the record that `rigappliance fetch` leaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rigappliance.fetch.digest import digest_of
from rigappliance.fetch.record import read_record


@dataclass(frozen=True)
class HashFacts:
    """``wrong`` are files with another content, ``unreadable`` those that could not be read, with the reason."""

    recorded: bool
    files: int = 0
    read_bytes: int = 0
    wrong: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()


def read_hashes(directory: Path, progress: Callable[[int, int], None] | None = None) -> HashFacts:
    """Read every recorded file from the disk; ``progress`` gets bytes done and bytes in all. Raises nothing."""
    record = read_record(directory)
    if record is None:
        return HashFacts(recorded=False)
    wrong, unreadable, done = [], [], 0

    def on_block(count: int) -> None:
        nonlocal done
        done += count
        if progress and record:
            progress(done, record.total_bytes)

    for entry in record.entries:
        file = entry.file
        try:
            digest, status = digest_of(directory / file.path, file.algorithm, on_block)
        except OSError as error:
            unreadable.append(f"{file.path}: {error.strerror or error}")
            continue
        if digest != file.digest or status.st_size != file.size_bytes:
            wrong.append(file.path)
    return HashFacts(True, len(record.entries), done, tuple(wrong), tuple(unreadable))

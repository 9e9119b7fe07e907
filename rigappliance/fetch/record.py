"""What is known about the checkpoint in a directory, kept in a file beside it.

The hub's listing is kept from the start, so that an interrupted fetch stays with
the commit that it began with and a verification needs no network.  A file counts
as verified for as long as its size, modification time and inode are those that
it was hashed with; the inode makes a copy on another disk be read once there.
"""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rigappliance.errors import RequestFailedError
from rigappliance.fetch.listing import HubFile, checked

NAME = ".rigappliance-verified.json"
VERSION = 1
# The last one is a path or a checksum that no hub would send.
NONSENSE = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError, RequestFailedError)


@dataclass(frozen=True)
class Entry:
    """A file, and the modification time and inode with which its content was verified; ``None`` if it was not."""

    file: HubFile
    mtime_ns: int | None = None
    inode: int | None = None


@dataclass(frozen=True)
class Record:
    """``revision`` is what was declared, ``commit`` what it meant then, ``verified`` when all was found whole (UTC)."""

    repository: str
    revision: str
    commit: str
    entries: tuple[Entry, ...]
    verified: str | None = None

    @property
    def total_bytes(self) -> int:
        return sum(entry.file.size_bytes for entry in self.entries)

    def answers(self, repository: str, revision: str) -> bool:
        """Whether this is about what is declared; a commit may be declared after the branch that led to it."""
        return self.repository == repository and revision in (self.revision, self.commit)

    def with_entry(self, entry: Entry) -> Record:
        kept = (entry if one.file.path == entry.file.path else one for one in self.entries)
        return replace(self, entries=tuple(kept), verified=None)


def status_of(directory: Path, file: HubFile) -> os.stat_result | None:
    """``None`` where there is no regular file."""
    try:
        status = (directory / file.path).stat()
    except OSError:
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def still_verified(directory: Path, entry: Entry) -> bool:
    """Whether the file is the one that was hashed, as far as its status tells."""
    status = status_of(directory, entry.file)
    if status is None or entry.mtime_ns is None:
        return False
    known = (entry.file.size_bytes, entry.mtime_ns, entry.inode)
    return (status.st_size, status.st_mtime_ns, status.st_ino) == known


def is_whole(directory: Path, record: Record) -> bool:
    """Whether all was verified and nothing has changed since; a status a file, no content."""
    return record.verified is not None and all(still_verified(directory, entry) for entry in record.entries)


def read_record(directory: Path) -> Record | None:
    """``None`` where there is none, or none that can be understood."""
    try:
        return record_from(json.loads((directory / NAME).read_text(encoding="utf-8")))
    except (OSError, *NONSENSE):
        return None


def record_from(tree: Any) -> Record:
    """Raises one of ``NONSENSE`` for anything but a record."""
    if tree["version"] != VERSION:
        raise ValueError("another version")
    texts = (tree["repository"], tree["revision"], tree["commit"])
    if not all(isinstance(text, str) for text in texts) or not isinstance(tree["verified"], str | None):
        raise TypeError("names are text")
    return Record(*texts, tuple(entry_from(path, one) for path, one in tree["files"].items()), tree["verified"])


def entry_from(path: str, tree: Any) -> Entry:
    numbers = (tree["size_bytes"], tree["mtime_ns"], tree["inode"])
    if not all(isinstance(number, int | None) for number in numbers) or numbers[0] is None:
        raise TypeError("sizes and times are numbers")
    if tree["algorithm"] not in ("sha256", "git-sha1"):
        raise ValueError("no such algorithm")
    return Entry(checked(HubFile(path, numbers[0], tree["algorithm"], tree["digest"])), *numbers[1:])


def write_record(directory: Path, record: Record) -> None:
    """Replace the record in one step that a power cut does not tear. Raises ``OSError``."""
    tree = {
        "version": VERSION,
        "repository": record.repository,
        "revision": record.revision,
        "commit": record.commit,
        "verified": record.verified,
        "files": {
            entry.file.path: {
                "size_bytes": entry.file.size_bytes,
                "algorithm": entry.file.algorithm,
                "digest": entry.file.digest,
                "mtime_ns": entry.mtime_ns,
                "inode": entry.inode,
            }
            for entry in record.entries
        },
    }
    part = directory / f"{NAME}.part"
    with part.open("w", encoding="utf-8") as file:
        json.dump(tree, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    part.replace(directory / NAME)
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

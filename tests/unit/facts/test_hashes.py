"""The checkpoint's bytes against the record of a fetch."""

from __future__ import annotations

import hashlib
from pathlib import Path

from rigappliance.facts.hashes import HashFacts, read_hashes
from rigappliance.fetch.listing import HubFile
from rigappliance.fetch.record import Entry, Record, write_record


def checkpoint(directory: Path, **files: bytes) -> None:
    entries = []
    for name, content in files.items():
        (directory / name).write_bytes(content)
        status = (directory / name).stat()
        digest = hashlib.sha256(content).hexdigest()
        entries.append(Entry(HubFile(name, len(content), "sha256", digest), status.st_mtime_ns, status.st_ino))
    write_record(directory, Record("a/b", "main", "0" * 40, tuple(entries), "2026-11-23"))


def test_nothing_to_compare_with(tmp_path: Path) -> None:
    assert read_hashes(tmp_path) == HashFacts(recorded=False)


def test_a_bit_that_flipped_is_found_although_size_and_time_are_as_they_were(tmp_path: Path) -> None:
    import os

    checkpoint(tmp_path, a=b"x" * 100, b=b"y" * 50)
    status = (tmp_path / "a").stat()
    (tmp_path / "a").write_bytes(b"x" * 99 + b"z")
    os.utime(tmp_path / "a", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert read_hashes(tmp_path) == HashFacts(True, 2, 150, wrong=("a",))


def test_a_file_that_is_gone_is_named_with_the_reason_and_the_others_are_read(tmp_path: Path) -> None:
    checkpoint(tmp_path, a=b"x", b=b"y")
    (tmp_path / "a").unlink()
    assert read_hashes(tmp_path) == HashFacts(True, 2, 1, unreadable=("a: No such file or directory",))


def test_progress_ends_at_all(tmp_path: Path) -> None:
    checkpoint(tmp_path, a=b"x" * 10, b=b"y" * 20)
    seen: list[tuple[int, int]] = []
    read_hashes(tmp_path, lambda done, total: seen.append((done, total)))
    assert seen == [(10, 30), (30, 30)]

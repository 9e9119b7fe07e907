"""When a file still counts as verified, and when a record is none."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rigappliance.fetch.listing import HubFile
from rigappliance.fetch.record import NAME, Entry, Record, is_whole, read_record, write_record

COMMIT = "c0" * 20


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """Of two files that are there and verified."""
    entries = []
    (tmp_path / "b").mkdir()
    for path in ("a", "b/c"):
        (tmp_path / path).write_bytes(path.encode())
        status = (tmp_path / path).stat()
        entries.append(Entry(HubFile(path, len(path), "git-sha1", "ab" * 20), status.st_mtime_ns, status.st_ino))
    return Record("rig/tiny", "main", COMMIT, tuple(entries), "2026-11-23T10:00:00+00:00")


def test_it_comes_back_as_it_was_written(tmp_path: Path, record: Record) -> None:
    write_record(tmp_path, record)
    assert read_record(tmp_path) == record
    unverified = replace(record.with_entry(Entry(record.entries[0].file)), verified=None)
    write_record(tmp_path, unverified)
    assert read_record(tmp_path) == unverified
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == []


def test_nothing_changed_is_whole(tmp_path: Path, record: Record) -> None:
    assert is_whole(tmp_path, record)
    assert not is_whole(tmp_path, replace(record, verified=None))


def rewrite(path: Path) -> None:
    """Another file with the same size and time."""
    before = path.stat()
    copy = path.with_name("copy")
    copy.write_bytes(b"x" * before.st_size)
    os.utime(copy, ns=(before.st_atime_ns, before.st_mtime_ns))
    copy.replace(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b"longer"),
        lambda path: os.utime(path, ns=(0, path.stat().st_mtime_ns + 1)),
        lambda path: (path.unlink(), path.mkdir()),
        rewrite,
    ],
)
def test_whatever_changed_is_noticed(tmp_path: Path, record: Record, change: Any) -> None:
    change(tmp_path / "b/c")
    assert not is_whole(tmp_path, record)


def test_a_commit_may_be_declared_after_its_branch(record: Record) -> None:
    assert record.answers("rig/tiny", "main")
    assert record.answers("rig/tiny", COMMIT)
    assert not record.answers("rig/tiny", "v2")
    assert not record.answers("rig/large", "main")


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: tree.update(version=2),
        lambda tree: tree.pop("commit"),
        lambda tree: tree.update(repository=7),
        lambda tree: tree.update(verified=1.5),
        lambda tree: tree.update(files=[]),
        lambda tree: tree["files"]["a"].pop("digest"),
        lambda tree: tree["files"]["a"].update(digest="zz"),
        lambda tree: tree["files"]["a"].update(algorithm="md5"),
        lambda tree: tree["files"]["a"].update(size_bytes=None),
        lambda tree: tree["files"]["a"].update(mtime_ns="now"),
        lambda tree: tree["files"].update({"../a": tree["files"]["a"]}),
    ],
)
def test_a_record_that_makes_no_sense_is_none(tmp_path: Path, record: Record, change: Any) -> None:
    write_record(tmp_path, record)
    tree = json.loads((tmp_path / NAME).read_text())
    change(tree)
    (tmp_path / NAME).write_text(json.dumps(tree))
    assert read_record(tmp_path) is None


@pytest.mark.parametrize("content", [b"", b"null", b"[]", b"\xff", b"\0" * 4096, b"[" * 100_000])
def test_a_torn_record_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)
    assert read_record(tmp_path) is None

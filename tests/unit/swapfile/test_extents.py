"""Holes are found, preallocated ranges are none, and FIEMAP's answer is read rightly."""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path

import pytest

from rigappliance.swapfile import extents
from rigappliance.swapfile.allocate import fallocate
from rigappliance.swapfile.extents import Extent, first_gap, first_hole, read_extents, unusable_kind
from tests.unit.swapfile.host import MIB


def opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


@pytest.mark.parametrize("with_fiemap", [True, False])
def test_holes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_fiemap: bool) -> None:
    if not with_fiemap:
        monkeypatch.setattr(extents, "read_extents", lambda fd: None)
    fd = opened(tmp_path / "file")
    os.pwrite(fd, b"x" * MIB, 0)
    os.pwrite(fd, b"x" * MIB, 3 * MIB)
    assert first_hole(fd, 4 * MIB) == MIB
    assert first_hole(fd, MIB) == MIB
    os.pwrite(fd, b"x" * 2 * MIB, MIB)
    assert first_hole(fd, 4 * MIB) == 4 * MIB
    os.ftruncate(fd, 5 * MIB)
    assert first_hole(fd, 5 * MIB) == 4 * MIB
    os.ftruncate(fd, 0)
    os.ftruncate(fd, MIB)
    assert first_hole(fd, MIB) == 0
    assert first_hole(fd, 0) == 0
    os.close(fd)


@pytest.mark.parametrize("with_fiemap", [True, False])
def test_what_is_preallocated_is_no_hole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_fiemap: bool) -> None:
    """Although SEEK_HOLE alone says so."""
    if not with_fiemap:
        monkeypatch.setattr(extents, "read_extents", lambda fd: None)
    fd = opened(tmp_path / "file")
    fallocate(fd, 0, 2 * MIB)
    assert first_hole(fd, 2 * MIB) == 2 * MIB
    os.close(fd)


def test_fiemap_has_the_first_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file can have as many blocks as it needs, and some of them behind its end instead of in a hole."""
    fd = opened(tmp_path / "file")
    fallocate(fd, 0, 2 * MIB)
    monkeypatch.setattr(extents, "read_extents", lambda fd: [Extent(0, MIB, 0), Extent(2 * MIB, MIB, 1)])
    assert first_hole(fd, 2 * MIB) == MIB
    os.close(fd)


@pytest.mark.parametrize(
    ("pieces", "size", "gap"),
    [
        ([], 10, 0),
        ([(0, 10)], 10, 10),
        ([(0, 4), (4, 6)], 10, 10),
        ([(0, 4), (5, 5)], 10, 4),
        ([(1, 9)], 10, 0),
        ([(0, 100)], 10, 10),
        ([(0, 8), (2, 2), (8, 2)], 10, 10),
    ],
)
def test_the_first_gap(pieces: list[tuple[int, int]], size: int, gap: int) -> None:
    assert first_gap([Extent(start, length, 0) for start, length in pieces], size) == gap


def test_more_extents_than_one_call_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the kernel lays them out: struct fiemap and struct fiemap_extent of linux/fiemap.h."""
    laid_out = [(index * 4096, 4096, 1 if index == 1199 else 0) for index in range(1200)]
    calls = []

    def ioctl(fd: int, request: int, buffer: bytearray) -> int:
        start, length, flags, _, room, _ = struct.unpack_from("=QQLLLL", buffer)
        calls.append((start, flags))
        answer = [extent for extent in laid_out if extent[0] >= start][:room]
        struct.pack_into("=L", buffer, 20, len(answer))
        for index, (logical, count, kind) in enumerate(answer):
            struct.pack_into("=QQQQQLLLL", buffer, 32 + 56 * index, logical, 7, count, 0, 0, kind, 0, 0, 0)
        assert (request, length) == (0xC020660B, 2**63 - 1 - start)
        return 0

    monkeypatch.setattr("fcntl.ioctl", ioctl)
    assert read_extents(0) == [Extent(*extent) for extent in laid_out]
    assert calls == [(0, 1), (512 * 4096, 1), (1024 * 4096, 1)]


def test_a_file_system_without_fiemap_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def ioctl(*_: object) -> int:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr("fcntl.ioctl", ioctl)
    assert read_extents(0) is None


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (0x0, None),
        (0x1, None),
        (0x800, None),
        (0x1000, None),
        (0x2, "of unknown place"),
        (0x8, "compressed or encrypted"),
        (0x2001, "shared with another file"),
        (0x200, "inside the inode"),
    ],
)
def test_kinds_that_cannot_be_swapped_to(flags: int, words: str | None) -> None:
    assert unusable_kind([Extent(0, 4096, 0), Extent(4096, 4096, flags)]) == words

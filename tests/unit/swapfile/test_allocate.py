"""Every byte gets its block, whatever an earlier run left, and nothing is done twice."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from rigappliance.swapfile import allocate
from rigappliance.swapfile.extents import first_hole
from rigappliance.swapfile.filesystem import Way
from tests.unit.swapfile.host import MIB, Host

SIZE = 8 * MIB + 12288


class Work:
    """One run over ``path``: what it told, what it asked for and where it wrote."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self.told: list[int] = []
        self.asked: list[int] = []
        self.written: list[tuple[int, int]] = []
        real = os.pwrite

        def pwrite(fd: int, content: memoryview, offset: int) -> int:
            self.written.append((offset, len(content)))
            return real(fd, content, offset)

        monkeypatch.setattr(os, "pwrite", pwrite)

    def run(self, way: Way, size: int = SIZE) -> None:
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            allocate.allocate(fd, size, way, self.told.append, self.asked.append)
            assert os.fstat(fd).st_size == size
            assert first_hole(fd, size) == size
        finally:
            os.close(fd)


@pytest.fixture
def work(host: Host, monkeypatch: pytest.MonkeyPatch) -> Work:
    return Work(host.partial, monkeypatch)


@pytest.mark.parametrize("way", Way)
def test_from_nothing(work: Work, way: Way) -> None:
    work.run(way)
    assert work.told == [*range(0, 9 * MIB, MIB), SIZE]
    assert work.asked == sorted(work.asked, reverse=True)
    assert sum(work.asked) <= SIZE
    assert work.path.read_bytes() == bytes(SIZE)


def test_preallocation_writes_nothing(work: Work) -> None:
    work.run(Way.PREALLOCATED)
    assert work.written == []


@pytest.mark.parametrize("way", Way)
@pytest.mark.parametrize("left", [0, 5, 4096, MIB, 3 * MIB + 700_000, SIZE])
def test_going_on_from_what_is_written(work: Work, way: Way, left: int) -> None:
    work.path.write_bytes(bytes(left))
    work.run(way)
    if way is Way.WRITTEN:
        whole = left if left == SIZE else left - left % MIB
        assert work.told[0] == whole
        assert min((start for start, _ in work.written), default=SIZE) == whole


@pytest.mark.parametrize("way", Way)
def test_a_size_without_the_blocks_counts_for_nothing(work: Work, way: Way) -> None:
    """After a power cut the size can be on the disk before the blocks are."""
    work.path.write_bytes(bytes(2 * MIB))
    os.truncate(work.path, SIZE)
    work.run(way)
    if way is Way.WRITTEN:
        assert work.told[0] == 2 * MIB


@pytest.mark.parametrize("way", Way)
def test_a_hole_in_the_middle_is_filled(work: Work, way: Way) -> None:
    fd = os.open(work.path, os.O_RDWR | os.O_CREAT, 0o600)
    os.write(fd, bytes(MIB))
    os.lseek(fd, 6 * MIB, os.SEEK_SET)
    os.write(fd, bytes(SIZE - 6 * MIB))
    os.close(fd)
    work.run(way)
    if way is Way.WRITTEN:
        assert work.told[0] == MIB


@pytest.mark.parametrize("way", Way)
def test_more_than_is_declared_is_given_back(work: Work, way: Way) -> None:
    work.path.write_bytes(bytes(2 * SIZE))
    work.run(way)
    assert work.path.stat().st_blocks * 512 < 2 * SIZE


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.ENOSYS])
def test_what_cannot_be_preallocated_is_written(work: Work, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fallocate(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(allocate, "fallocate", fallocate)
    work.run(Way.PREALLOCATED)
    assert sum(length for _, length in work.written) >= SIZE


def test_other_failures_of_preallocation_are_not_hidden(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    def fallocate(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(allocate, "fallocate", fallocate)
    with pytest.raises(OSError, match="Input/output error"):
        work.run(Way.PREALLOCATED)
    assert work.written == []


def test_fallocate_names_what_the_kernel_says(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    fd = os.open(tmp_path / "file", os.O_RDONLY)
    with pytest.raises(OSError) as caught:
        allocate.fallocate(fd, 0, 4096)
    os.close(fd)
    assert caught.value.errno == errno.EBADF


def test_each_written_step_is_on_the_disk_before_the_next_and_not_in_the_cache(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: events.append("sync"))
    monkeypatch.setattr(os, "fdatasync", lambda fd: events.append("sync"))
    monkeypatch.setattr(os, "posix_fadvise", lambda fd, start, length, advice: events.append(f"drop {start}"))
    fd = os.open(work.path, os.O_RDWR | os.O_CREAT, 0o600)
    allocate.allocate(fd, 2 * MIB, Way.WRITTEN, lambda done: events.append(f"at {done}"), lambda need: None)
    os.close(fd)
    assert events == ["sync", "at 0", "sync", "drop 0", f"at {MIB}", "sync", f"drop {MIB}", f"at {2 * MIB}"]


def test_the_first_page_is_on_the_disk_before_all_others(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the file can be recognised however the power fails, without a journal too."""
    synced: list[int] = []
    real = os.fsync

    def fsync(fd: int) -> None:
        synced.append(os.fstat(fd).st_size)
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    work.run(Way.WRITTEN)
    assert synced[0] == os.sysconf("SC_PAGE_SIZE")


def test_a_short_write_goes_on_where_it_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, content, offset: real(fd, content[:1000], offset))
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT, 0o600)
    allocate.write_all(fd, memoryview(b"ab" * 5000), 300)
    os.close(fd)
    assert (tmp_path / "file").read_bytes() == bytes(300) + b"ab" * 5000

"""The hard disk's model, its elevator and the file system that serves it."""

from __future__ import annotations

import errno
import mmap
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from bench.hdd import BadRange, DiskModel, HardDisk, SlowRange, Truncation, mounted, unavailable
from bench.hdd.elevator import BATCH, EXPIRE_S, Elevator, Read
from bench.hdd.platter import lay_out

MIB = 1 << 20
SIZE = 32 * MIB
needs_fuse = pytest.mark.skipif(unavailable() is not None, reason=str(unavailable()))


def read_at(offset: int, arrived_s: float = 0.0, unique: int = 0) -> Read:
    return Read(offset, unique or offset + 1, 4096, 2, offset, arrived_s)


def order(queue: Elevator, head: int, now_s: float = 0.0) -> list[int]:
    taken = []
    while len(queue):
        read = queue.take(head, now_s)
        taken.append(read.offset_bytes)
        head = read.offset_bytes + read.size_bytes
    return taken


# The model


def test_the_mean_of_all_seeks_is_the_data_sheets() -> None:
    model, rng = DiskModel(), random.Random(1)
    size = model.capacity_bytes
    seeks = [model.seek_s(rng.randrange(size) - rng.randrange(size)) for _ in range(20_000)]
    assert sum(seeks) / len(seeks) == pytest.approx(model.average_seek_s, rel=0.01)


def test_where_the_last_read_ended_costs_nothing_and_before_it_costs_a_seek() -> None:
    model = DiskModel()
    assert model.access_s(MIB, MIB) == 0.0
    assert model.access_s(MIB, MIB - 4096) > model.half_rotation_s + model.track_seek_s


def test_a_small_gap_ahead_passes_under_the_head() -> None:
    model = DiskModel()
    assert model.access_s(0, 16_000) == pytest.approx(16_000 / model.bandwidth_bytes_s)
    assert model.access_s(0, 100 * MIB) == pytest.approx(model.seek_s(100 * MIB) + model.half_rotation_s)


def test_random_reads_are_expected_to_take_what_they_take() -> None:
    model, rng, span = DiskModel(), random.Random(2), 2 << 30
    head, spent = 0, 0.0
    for _ in range(20_000):
        offset = rng.randrange(span // 4096) * 4096
        spent += model.access_s(head, offset) + model.transfer_s(4096)
        head = offset + 4096
    assert spent / 20_000 == pytest.approx(model.random_reads_s(4096, span), rel=0.01)


# The elevator


def test_sweeps_upwards_from_the_head_and_starts_again_at_the_lowest() -> None:
    queue = Elevator()
    for offset in (900_000, 100_000, 500_000, 300_000):
        queue.add(read_at(offset))
    assert order(queue, 400_000) == [500_000, 900_000, 100_000, 300_000]


def test_fifo_keeps_the_order_of_arrival() -> None:
    queue = Elevator(fifo=True)
    for offset in (900_000, 100_000, 500_000):
        queue.add(read_at(offset))
    assert order(queue, 400_000) == [900_000, 100_000, 500_000]


def test_an_old_read_is_served_after_the_batch_even_behind_the_head() -> None:
    queue = Elevator()
    queue.add(read_at(0, arrived_s=0.0))
    for number in range(1, 2 * BATCH):
        queue.add(read_at(MIB * number, arrived_s=EXPIRE_S))
    assert order(queue, MIB // 2, now_s=EXPIRE_S + 0.1)[0] == 0
    queue.add(read_at(0, arrived_s=0.0))
    for number in range(1, 2 * BATCH):
        queue.add(read_at(MIB * number, arrived_s=EXPIRE_S))
    assert queue.take(MIB // 2, now_s=EXPIRE_S).offset_bytes == MIB
    taken = order(queue, MIB, now_s=EXPIRE_S + 0.1)
    assert taken.index(0) == BATCH - 1


# The mount


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("disk")
    (directory / "sub").mkdir()
    (directory / "sub" / "small.txt").write_text("small\n")
    (directory / "shard-10.bin").write_bytes(random.Random(3).randbytes(4 * MIB))
    (directory / "shard-2.bin").write_bytes(random.Random(4).randbytes(SIZE))
    with (directory / "wide.bin").open("wb") as file:
        file.truncate(2 << 30)
    return directory


@pytest.fixture(scope="module")
def mount(source: Path) -> Iterator[HardDisk]:
    with mounted(source) as disk:
        yield disk


@pytest.fixture
def disk(mount: HardDisk) -> Iterator[HardDisk]:
    mount.drop_cache()
    mount.zero()
    yield mount
    mount.heal()


def fastest(measure: Callable[[], float], enough_s: float) -> float:
    """Other work on the machine only slows a client down; the disk itself may never be faster than declared."""
    priority, best = os.getpriority(os.PRIO_PROCESS, 0), float("inf")
    os.setpriority(os.PRIO_PROCESS, 0, -15)
    try:
        deadline = time.monotonic() + 10
        while best > enough_s and time.monotonic() < deadline:
            best = min(best, measure())
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, priority)
    return best


@needs_fuse
def test_serves_the_directory_as_it_is(disk: HardDisk, source: Path) -> None:
    assert {path.name for path in disk.path.iterdir()} == {path.name for path in source.iterdir()}
    assert (disk.path / "sub" / "small.txt").read_text() == "small\n"
    assert (disk.path / "shard-10.bin").read_bytes() == (source / "shard-10.bin").read_bytes()
    with pytest.raises(OSError, match="Read-only"):
        (disk.path / "new").touch()
    with pytest.raises(FileNotFoundError):
        (disk.path / "missing").stat()


@needs_fuse
def test_one_sequential_read_gets_the_declared_bandwidth(disk: HardDisk) -> None:
    expected = SIZE / DiskModel().bandwidth_bytes_s

    def read_all() -> float:
        disk.drop_cache()
        disk.zero()
        piece, begin = bytearray(MIB), time.monotonic()
        with (disk.path / "shard-2.bin").open("rb", buffering=0) as file:
            while file.readinto(piece):
                pass
        return time.monotonic() - begin

    taken = fastest(read_all, enough_s=1.03 * expected)
    counts = disk.counts()
    assert 0.97 * expected <= taken <= 1.03 * expected
    assert counts.bytes == SIZE
    assert counts.seeks <= 1
    assert expected <= counts.busy_s <= expected + 2 * DiskModel().half_rotation_s


@needs_fuse
def test_random_reads_get_the_declared_rate(disk: HardDisk) -> None:
    count, span = 60, 2 << 30
    model, rng = DiskModel(), random.Random(5)
    # One place in each of as many equal parts, in random order: the mean of the distances hardly varies.
    places = [(span // count * part + rng.randrange(span // count)) // 4096 * 4096 for part in range(count)]
    rng.shuffle(places)
    expected = count * model.random_reads_s(4096, span)

    def read_all() -> float:
        disk.drop_cache()
        disk.zero()
        descriptor = os.open(disk.path / "wide.bin", os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
        begin = time.monotonic()
        for place in places:
            os.pread(descriptor, 4096, place)
        taken = time.monotonic() - begin
        os.close(descriptor)
        return taken

    taken = fastest(read_all, enough_s=1.05 * expected)
    counts = disk.counts()
    assert 0.95 * expected <= taken <= 1.05 * expected
    assert (counts.requests, counts.seeks) == (count, count)


@needs_fuse
def test_pages_are_cached_until_they_are_dropped_mapped_ones_too(disk: HardDisk, source: Path) -> None:
    with (disk.path / "shard-10.bin").open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        expected = (source / "shard-10.bin").read_bytes()
        assert mapped[:] == expected
        first = disk.counts().bytes
        assert first == 4 * MIB
        assert mapped[:] == expected
        # Opened once more: a file system that empties the cache at every open would flatter who reads ahead least.
        assert (disk.path / "shard-10.bin").read_bytes() == expected
        assert disk.counts().bytes == first
        disk.drop_cache()
        assert mapped[:] == expected
        assert disk.counts().bytes == 2 * first


@needs_fuse
def test_read_ahead_decides_the_size_of_a_read(disk: HardDisk) -> None:
    means = {}
    for kib in (128, 1024):
        disk.set_read_ahead(kib)
        disk.drop_cache()
        disk.zero()
        (disk.path / "shard-10.bin").read_bytes()
        with (disk.path / "shard-10.bin").open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
            disk.drop_cache()
            disk.zero()
            assert data[0] == (disk.path / "shard-10.bin").read_bytes()[0]
        means[kib] = disk.counts().mean_bytes
    disk.set_read_ahead(128)
    assert means[128] <= 128 << 10 < means[1024]


def test_files_lie_one_after_another_in_natural_order(source: Path) -> None:
    nodes = [node for node in lay_out(source).values() if not node.is_directory]
    for node in nodes:
        os.close(node.descriptor)
    assert [node.path for node in nodes] == ["shard-2.bin", "shard-10.bin", "sub/small.txt", "wide.bin"]
    assert [node.start_bytes for node in nodes] == [0, SIZE, SIZE + 4 * MIB, SIZE + 4 * MIB + 4096]


@needs_fuse
def test_readers_at_once_make_it_seek(disk: HardDisk) -> None:
    def read(begin: int) -> None:
        with (disk.path / "shard-2.bin").open("rb", buffering=0) as file:
            file.seek(begin)
            file.read(4 * MIB)

    def seeks(at_once: bool) -> int:
        disk.drop_cache()
        disk.zero()
        readers = [threading.Thread(target=read, args=(begin,)) for begin in (0, 4 * MIB, 8 * MIB)]
        for reader in readers:
            reader.start()
            if not at_once:
                reader.join()
        for reader in readers:
            reader.join()
        return disk.counts().seeks

    one_by_one = seeks(at_once=False)
    assert seeks(at_once=True) > 2 * one_by_one


@needs_fuse
def test_a_bad_range_fails_with_eio_and_leaves_the_rest(disk: HardDisk) -> None:
    disk.fail(BadRange("shard-10.bin", MIB, 4096))
    descriptor = os.open(disk.path / "shard-10.bin", os.O_RDONLY)
    try:
        with pytest.raises(OSError, match="Input/output") as failure:
            os.pread(descriptor, 4096, MIB)
        assert failure.value.errno == errno.EIO
        assert len(os.pread(descriptor, 4096, 2 * MIB)) == 4096
        disk.heal()
        assert len(os.pread(descriptor, 4096, MIB)) == 4096
    finally:
        os.close(descriptor)


@needs_fuse
def test_a_slow_range_takes_longer(disk: HardDisk) -> None:
    disk.fail(SlowRange("shard-10.bin", MIB, 4096, seconds=0.15))
    descriptor = os.open(disk.path / "shard-10.bin", os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
    begin = time.monotonic()
    os.pread(descriptor, 4096, 3 * MIB)
    between = time.monotonic()
    os.pread(descriptor, 4096, MIB)
    end = time.monotonic()
    os.close(descriptor)
    assert end - between > 0.15 > between - begin


@needs_fuse
def test_a_file_is_shortened_while_it_is_read(disk: HardDisk) -> None:
    disk.fail(Truncation("shard-10.bin", size_bytes=MIB, after_bytes=MIB // 2))
    assert (disk.path / "shard-10.bin").stat().st_size == 4 * MIB
    with (disk.path / "shard-10.bin").open("rb", buffering=0) as file:
        got = sum(iter(lambda: len(file.read(64 << 10)), 0))
    assert got == MIB
    assert (disk.path / "shard-10.bin").stat().st_size == MIB
    disk.heal()
    assert (disk.path / "shard-10.bin").stat().st_size == 4 * MIB


@needs_fuse
def test_a_fault_of_no_file_is_refused(disk: HardDisk) -> None:
    with pytest.raises(ValueError, match=r"no file nothing\.bin"):
        disk.fail(BadRange("nothing.bin", 0, 1))


@needs_fuse
def test_nothing_stays_mounted_where_its_user_fails(source: Path) -> None:
    with pytest.raises(RuntimeError, match="mine"), mounted(source) as disk:
        held = os.open(disk.path / "shard-10.bin", os.O_RDONLY)
        raise RuntimeError("mine")
    with suppress(OSError):
        os.close(held)
    assert disk.process.poll() == 0
    assert not disk.path.exists()
    assert str(disk.path) not in Path("/proc/mounts").read_text()

"""The log: nothing lost, nothing altered, and nobody who reads along can hold the engine up."""

from __future__ import annotations

import os
import random
import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rigappliance.launch.logpump import LINE_BYTES, LogFile, LogPump, Passthrough
from tests.unit.launch.recordings import recorded, split

MIB = 1 << 20


class Plumbing:
    """A pipe with a pump at its end; ``engine`` is where an engine would write."""

    def __init__(self, path: Path, write: Callable[[bytes], None], limit_bytes: int = 64 * MIB) -> None:
        read_fd, self.engine = os.pipe()
        self.read_fd = read_fd
        self.lines: list[str] = []
        self.file = LogFile(path, limit_bytes)
        self.pump = LogPump(read_fd, self.file, write, self.lines.append)

    def feed(self, chunks: list[bytes]) -> None:
        """Write each chunk and let the pump take it before the next, so that reads end where chunks do."""
        for chunk in chunks:
            while chunk:
                written = os.write(self.engine, chunk[: 1 << 16])
                chunk = chunk[written:]
                assert self.pump.read()

    def feed_from_thread(self, data: bytes) -> None:
        """An engine that prints as fast as it can, and a pump that runs until it has left."""

        def engine() -> None:
            with os.fdopen(self.engine, "wb", buffering=0) as out:
                rest = memoryview(data)
                while rest:
                    rest = rest[out.write(rest) :]

        thread = threading.Thread(target=engine)
        thread.start()
        os.set_blocking(self.read_fd, True)
        while self.pump.read():
            pass
        thread.join()
        self.close()

    def end(self) -> None:
        os.close(self.engine)
        assert not self.pump.read()
        self.close()

    def close(self) -> None:
        os.close(self.read_fd)
        self.file.close()


def chunked(data: bytes, rng: random.Random, longest: int) -> list[bytes]:
    chunks, at = [], 0
    while at < len(data):
        length = rng.randint(1, longest)
        chunks.append(data[at : at + length])
        at += length
    return chunks


def noise(rng: random.Random, count: int) -> bytes:
    """Bytes of every value, with line ends frequent enough to matter."""
    return bytes(rng.choice(b"\n\r" if rng.random() < 0.05 else range(256)) for _ in range(count))


@pytest.mark.parametrize("seed", range(8))
def test_random_bytes_in_random_chunks_arrive_as_they_are(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    data = noise(rng, 30_000)
    passed = bytearray()
    pipe = Plumbing(tmp_path / "engine.log", passed.extend)
    pipe.feed(chunked(data, rng, longest=rng.choice([2, 50, 4_000])))
    pipe.end()
    assert (tmp_path / "engine.log").read_bytes() == data
    assert bytes(passed) == data
    assert pipe.lines == split(data)
    assert pipe.pump.total_bytes == len(data)


@pytest.mark.parametrize("name", ["first-start", "truncated-shard", "worker-killed"])
def test_a_recorded_log_in_single_bytes_arrives_as_it_is(tmp_path: Path, name: str) -> None:
    data = recorded(name)
    passed = bytearray()
    pipe = Plumbing(tmp_path / "engine.log", passed.extend)
    pipe.feed([data[i : i + 1] for i in range(len(data))])
    pipe.end()
    assert ((tmp_path / "engine.log").read_bytes(), bytes(passed), pipe.lines) == (data, data, split(data))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=40), max_size=20))
def test_any_chunks_make_the_same_lines(tmp_path_factory: pytest.TempPathFactory, chunks: list[bytes]) -> None:
    path = tmp_path_factory.mktemp("log") / "engine.log"
    pipe = Plumbing(path, lambda data: None)
    pipe.feed(chunks)
    pipe.end()
    assert (path.read_bytes(), pipe.lines) == (b"".join(chunks), split(b"".join(chunks)))


def test_a_line_of_ten_megabytes_is_kept_whole_and_read_cut(tmp_path: Path) -> None:
    data = b"first\n" + b"x" * (10 * MIB) + b"\nlast, without an end"
    passed = bytearray()
    pipe = Plumbing(tmp_path / "engine.log", passed.extend)
    begin_s = time.monotonic()
    pipe.feed_from_thread(data)
    assert time.monotonic() - begin_s < 5
    assert (tmp_path / "engine.log").read_bytes() == data == bytes(passed)
    assert pipe.lines == ["first", "x" * LINE_BYTES, "last, without an end"]


def test_a_line_that_is_cut_keeps_its_beginning_whatever_the_chunks(tmp_path: Path) -> None:
    line = bytes(65 + i % 26 for i in range(3 * LINE_BYTES))
    pipe = Plumbing(tmp_path / "engine.log", lambda data: None)
    pipe.feed(chunked(line + b"\nnext\n", random.Random(1), longest=999))
    pipe.end()
    assert pipe.lines == [line[:LINE_BYTES].decode(), "next"]


def test_a_line_without_end_costs_no_more_the_longer_it_gets(tmp_path: Path) -> None:
    """Dots for an hour: each read brings a few, and all that came before must not be looked at again."""
    pipe = Plumbing(tmp_path / "engine.log", lambda data: None)
    pipe.feed([b"." * 1000] * 100)
    assert len(pipe.pump._rest) == LINE_BYTES
    begin_s = time.process_time()
    pipe.feed([b"."] * 20_000)
    one_s = time.process_time() - begin_s
    pipe.feed([b"." * 60_000] * 200)
    begin_s = time.process_time()
    pipe.feed([b"."] * 20_000)
    assert time.process_time() - begin_s < 3 * one_s + 0.1
    assert pipe.lines == []
    pipe.end()
    assert pipe.lines == ["." * LINE_BYTES]


def test_no_bytes_make_no_line(tmp_path: Path) -> None:
    pipe = Plumbing(tmp_path / "engine.log", lambda data: None)
    assert pipe.pump.read(), "an empty pipe is not the end of the log"
    pipe.end()
    assert pipe.lines == []


# --- who reads along -------------------------------------------------------


@pytest.fixture
def stdout() -> Iterator[tuple[int, int]]:
    """Read and write end of a pipe that stands for our standard output."""
    ends = os.pipe()
    yield ends
    for fd in ends:
        with suppress(OSError):
            os.close(fd)


def read_all(fd: int) -> bytes:
    pieces = []
    while piece := os.read(fd, 1 << 16):
        pieces.append(piece)
    return b"".join(pieces)


def test_a_reader_who_keeps_up_gets_every_byte_in_order(tmp_path: Path, stdout: tuple[int, int]) -> None:
    reader, writer = stdout
    got: list[bytes] = []
    thread = threading.Thread(target=lambda: got.append(read_all(reader)))
    thread.start()
    passthrough = Passthrough(writer)
    data = random.Random(2).randbytes(3 * MIB)
    Plumbing(tmp_path / "engine.log", passthrough.put).feed_from_thread(data)
    passthrough.close(10)
    os.close(writer)
    thread.join()
    assert got == [data]
    assert passthrough.dropped_bytes == 0


def test_a_reader_who_stalls_holds_up_nothing_and_what_he_misses_is_counted(
    tmp_path: Path, stdout: tuple[int, int]
) -> None:
    reader, writer = stdout
    passthrough = Passthrough(writer, limit_bytes=MIB)
    data = random.Random(3).randbytes(8 * MIB)
    begin_s = time.monotonic()
    # Should the pump wait for the reader after all, this ends the wait, so that the test fails and does not hang.
    rescue = threading.Timer(6, lambda: os.close(reader))
    rescue.start()
    Plumbing(tmp_path / "engine.log", passthrough.put).feed_from_thread(data)
    rescue.cancel()
    assert time.monotonic() - begin_s < 5, "the engine waited for a reader who does not read"
    assert (tmp_path / "engine.log").read_bytes() == data
    assert passthrough.dropped_bytes >= 6 * MIB

    got: list[bytes] = []
    thread = threading.Thread(target=lambda: got.append(read_all(reader)))
    thread.start()
    passthrough.close(10)
    os.close(writer)
    thread.join()
    assert len(got[0]) + passthrough.dropped_bytes == len(data)
    assert data.startswith(got[0][:MIB])


def test_a_reader_who_comes_back_sees_the_log_again(stdout: tuple[int, int]) -> None:
    reader, writer = stdout
    passthrough = Passthrough(writer, limit_bytes=MIB)
    for _ in range(64):
        passthrough.put(b"x" * (1 << 16))
    dropped = passthrough.dropped_bytes
    assert dropped > 0
    left = 4 * MIB - dropped
    while left:
        left -= len(os.read(reader, left))
    deadline_s = time.monotonic() + 5
    while passthrough._queued and time.monotonic() < deadline_s:
        time.sleep(0.01)
    passthrough.put(b"again")
    assert os.read(reader, 99) == b"again"
    assert passthrough.dropped_bytes == dropped
    passthrough.close(5)


def test_a_reader_who_left_is_no_reason_to_stop(tmp_path: Path, stdout: tuple[int, int]) -> None:
    reader, writer = stdout
    os.close(reader)
    passthrough = Passthrough(writer)
    pipe = Plumbing(tmp_path / "engine.log", passthrough.put)
    pipe.feed([b"one\n"])
    deadline_s = time.monotonic() + 5
    while passthrough.limit_bytes >= 0 and time.monotonic() < deadline_s:
        time.sleep(0.01)
    pipe.feed([b"two\n", b"three\n"])
    pipe.end()
    assert (tmp_path / "engine.log").read_bytes() == b"one\ntwo\nthree\n"
    assert pipe.lines == ["one", "two", "three"]
    assert passthrough.dropped_bytes == len(b"two\nthree\n")
    passthrough.close(5)
    assert not passthrough._thread.is_alive()


def test_closing_does_not_wait_for_ever_for_a_reader_who_stalls(stdout: tuple[int, int]) -> None:
    passthrough = Passthrough(stdout[1])
    passthrough.put(b"x" * MIB)
    begin_s = time.monotonic()
    passthrough.close(0.2)
    assert time.monotonic() - begin_s < 2
    read_all_of(stdout[0], MIB)


def read_all_of(fd: int, count: int) -> None:
    while count:
        count -= len(os.read(fd, count))


def test_standard_output_in_non_blocking_mode_loses_nothing(stdout: tuple[int, int]) -> None:
    """Whoever shares the terminal or pipe may have set O_NONBLOCK on it."""
    reader, writer = stdout
    os.set_blocking(writer, False)
    data = random.Random(4).randbytes(MIB)
    got: list[bytes] = []
    passthrough = Passthrough(writer)
    passthrough.put(data)
    time.sleep(0.2)
    thread = threading.Thread(target=lambda: got.append(read_all(reader)))
    thread.start()
    passthrough.close(10)
    os.close(writer)
    thread.join()
    assert got == [data]


# --- the file --------------------------------------------------------------


def test_rotation_keeps_two_files_within_the_limit_and_they_end_with_the_latest_bytes(tmp_path: Path) -> None:
    limit, rng = 10_000, random.Random(5)
    log = LogFile(tmp_path / "engine.log", limit)
    written = bytearray()
    for _ in range(500):
        chunk = rng.randbytes(rng.randint(1, 700))
        written += chunk
        log.write(chunk)
        sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
        assert set(sizes) <= {"engine.log", "engine.log.1"}
        assert max(sizes.values()) <= limit
    log.close()
    kept = (tmp_path / "engine.log.1").read_bytes() + (tmp_path / "engine.log").read_bytes()
    assert len(kept) > limit
    assert bytes(written).endswith(kept)
    assert log.lost_bytes == 0


def test_a_new_start_keeps_the_log_of_the_one_before(tmp_path: Path) -> None:
    for text in (b"first", b"second", b"third"):
        log = LogFile(tmp_path / "engine.log", 1000)
        log.write(text)
        log.close()
    assert (tmp_path / "engine.log").read_bytes() == b"third"
    assert (tmp_path / "engine.log.1").read_bytes() == b"second"


def test_a_full_disk_is_counted_and_passed_over(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "engine.log", 1000)
    log.write(b"before")
    assert log._file is not None
    log._file.close()
    log._file = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115 the log closes it
    log.write(b"x" * 600)
    assert log.lost_bytes == 600
    log.write(b"y" * 600)
    log.close()
    assert log.lost_bytes == 600, "after rotation there was room again"
    assert (tmp_path / "engine.log").read_bytes() == b"y" * 600


def test_a_disk_that_takes_only_a_part_is_counted_exactly(tmp_path: Path) -> None:
    """A file size limit behaves as a disk that fills up within one write: a short write, then an error."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    log = LogFile(tmp_path / "engine.log", 1 * MIB)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        log.write(b"x" * 8_000)
        log.write(b"y" * 8_000)
        log.write(b"z" * 8_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    log.close()
    kept = (tmp_path / "engine.log").stat().st_size
    assert (kept, log.lost_bytes) == (10_000, 14_000)


def test_a_log_that_cannot_be_opened_loses_the_file_and_nothing_else(tmp_path: Path) -> None:
    passed = bytearray()
    pipe = Plumbing(tmp_path / "missing" / "engine.log", passed.extend)
    pipe.feed([b"one\n", b"two\n"])
    pipe.end()
    assert (bytes(passed), pipe.lines, pipe.file.lost_bytes) == (b"one\ntwo\n", ["one", "two"], 8)

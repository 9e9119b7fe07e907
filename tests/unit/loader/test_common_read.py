"""The reader's thread and the ranks: who waits for whom, what is read once, and that nobody waits for good."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rigappliance.loader import pace as pace_module
from rigappliance.loader import reader as reader_module
from rigappliance.loader.board import Board, State, Word, started_at
from rigappliance.loader.errors import LoadError
from rigappliance.loader.header import Shard
from rigappliance.loader.pace import Pace
from rigappliance.loader.reader import Reader
from tests.standin import wait_until
from tests.unit.loader.shards import TENSOR_BYTES, checkpoint

PIECE = 16 * 1024


@pytest.fixture
def shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Shard, ...]:
    monkeypatch.setattr(reader_module, "READ_BYTES", PIECE)
    # Files that were just written are in the page cache, where nothing would be read.
    monkeypatch.setattr(reader_module, "all_cached", lambda descriptor, offset, size: False)
    return checkpoint(tmp_path)


@pytest.fixture
def readers() -> Iterator[list[Reader]]:
    started: list[Reader] = []
    yield started
    for one in started:
        one.stop()
        one.join(5)
        assert not one.is_alive()


def reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int]]:
    """File, place and length of each read from now on; no rank of these tests reads."""
    asked: list[tuple[int, int, int]] = []
    read = os.preadv

    def noted(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        asked.append((os.fstat(descriptor).st_ino, offset, sum(map(len, buffers))))
        return read(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", noted)
    return asked


def total(shards: tuple[Shard, ...]) -> int:
    return sum(shard.size_bytes for shard in shards)


def begin(
    shards: tuple[Shard, ...], readers: list[Reader], ranks: int, window: int, stall_s: float = 30.0, drop: bool = False
) -> Board:
    board = Board.create(ranks, window, total(shards))
    readers.append(Reader(board, shards, stall_s, drop))
    readers[0].start()
    return board


def test_the_reader_stays_within_the_window_of_the_slowest_rank(
    shards: tuple[Shard, ...], readers: list[Reader]
) -> None:
    window = 4 * TENSOR_BYTES
    board = begin(shards, readers, 2, window)
    quick, slow = Pace(board, 0, 30.0), Pace(board, 1, 30.0)
    quick.reached(total(shards))
    for position in (0, 3 * TENSOR_BYTES, 5 * TENSOR_BYTES):
        slow.reached(position)
        wait_until(lambda: board.reader >= position + window)  # noqa: B023 called at once
        time.sleep(0.05)
        # A piece that has begun is finished.
        assert board.reader <= position + window + PIECE
    assert not board.is_open


def test_a_rank_that_needs_more_than_the_window_gets_it(shards: tuple[Shard, ...], readers: list[Reader]) -> None:
    board = begin(shards, readers, 1, PIECE)
    one = Pace(board, 0, 30.0)
    one.wait(0, 10 * TENSOR_BYTES)
    assert 10 * TENSOR_BYTES <= board.reader < total(shards)
    assert one.waited_s > 0 and board.get(0, Word.WAITED_US) > 0


def test_a_rank_says_where_it_is_within_a_tensor_only_where_that_would_fill_the_window() -> None:
    board = Board.create(1, 400, 10_000)
    board.reader = 10_000
    one = Pace(board, 0, 1.0)
    one.reached(1000)
    one.wait(1100, 1101)
    assert board.get(0, Word.POSITION) == 1000
    one.wait(1101, 1102)
    assert board.get(0, Word.POSITION) == 1101
    one.reached(500)
    assert board.get(0, Word.POSITION) == 1101


def test_everything_is_asked_for_once_and_in_order(
    shards: tuple[Shard, ...], readers: list[Reader], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {shard.path.stat().st_ino: shard.first for shard in shards}
    asked = reads(monkeypatch)
    board = begin(shards, readers, 1, 2 * TENSOR_BYTES)
    one = Pace(board, 0, 30.0)
    one.wait(0, total(shards))
    one.finish()
    readers[0].join(5)
    position = 0
    for inode, offset, length in asked:
        assert names[inode] + offset == position and 0 < length <= PIECE
        position += length
    assert position == total(shards)


def test_what_the_page_cache_has_is_passed_without_a_read(
    shards: tuple[Shard, ...], readers: list[Reader], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but a stretch of the second shard."""
    cold, inode = range(2 * TENSOR_BYTES, 3 * TENSOR_BYTES), shards[1].path.stat().st_ino

    def cached(descriptor: int, offset: int, size: int) -> bool:
        other = os.fstat(descriptor).st_ino != inode
        return other or offset >= cold.stop or offset + size <= cold.start

    asked = reads(monkeypatch)
    monkeypatch.setattr(reader_module, "all_cached", cached)
    board = begin(shards, readers, 1, total(shards))
    one = Pace(board, 0, 30.0)
    one.wait(0, total(shards))
    one.finish()
    readers[0].join(5)
    assert {found for found, _, _ in asked} == {inode}
    assert sum(length for _, _, length in asked) == shards[1].size_bytes


def test_what_all_ranks_have_passed_already_is_not_read(
    shards: tuple[Shard, ...], readers: list[Reader], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = reads(monkeypatch)
    board = Board.create(1, 2 * TENSOR_BYTES, total(shards))
    one = Pace(board, 0, 30.0)
    # It found the first two shards in the page cache itself.
    one.reached(shards[2].first)
    readers.append(Reader(board, shards, 30.0, False))
    readers[0].start()
    one.wait(shards[2].first, total(shards))
    one.finish()
    readers[0].join(5)
    assert [offset for _, offset, _ in asked] == list(range(0, shards[2].size_bytes, PIECE))


def test_what_all_ranks_have_passed_is_dropped_and_nothing_else(
    shards: tuple[Shard, ...], readers: list[Reader], monkeypatch: pytest.MonkeyPatch
) -> None:
    dropped: list[int] = []
    monkeypatch.setattr("rigappliance.loader.dropper.LARGEST_STEP_BYTES", PIECE)
    monkeypatch.setattr("rigappliance.loader.dropper.SMALLEST_STEP_BYTES", PIECE)
    monkeypatch.setattr(
        "rigappliance.loader.dropper.Dropper._drop", lambda self, shard, upto: dropped.append(upto), raising=True
    )
    board = begin(shards, readers, 2, total(shards), drop=True)
    first, second = Pace(board, 0, 30.0), Pace(board, 1, 30.0)
    first.reached(total(shards))
    second.reached(shards[1].first + 3 * PIECE)
    wait_until(lambda: dropped and dropped[-1] == shards[1].first + 3 * PIECE)
    second.finish()
    first.finish()
    readers[0].join(5)
    assert dropped == sorted(dropped) and dropped[-1] == total(shards)


def test_times_and_bytes_are_told_at_the_end(
    shards: tuple[Shard, ...], readers: list[Reader], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    board = begin(shards, readers, 1, total(shards))
    one = Pace(board, 0, 30.0)
    one.wait(0, total(shards))
    one.finish()
    readers[0].join(5)
    size = total(shards)
    said = [record.getMessage() for record in caplog.records]
    assert any(line.startswith(f"rigappliance loader: read {size} of {size} bytes (100%), ") for line in said)
    assert said[-1].startswith("rigappliance loader: finished after ") and f"window {size} bytes" in said[-1]
    assert said[-1].endswith(", 0 pieces failed")


def test_a_rank_that_never_moves_opens_the_gate_and_is_named(
    shards: tuple[Shard, ...], readers: list[Reader], caplog: pytest.LogCaptureFixture
) -> None:
    board = begin(shards, readers, 2, TENSOR_BYTES, stall_s=0.3)
    Pace(board, 1, 0.3)
    one = Pace(board, 0, 0.3)
    one.reached(8 * TENSOR_BYTES)
    started_s = time.monotonic()
    one.wait(8 * TENSOR_BYTES, 9 * TENSOR_BYTES)
    assert 0.25 < time.monotonic() - started_s < 5
    assert board.is_open and board.reader < 9 * TENSOR_BYTES
    readers[0].join(5)
    told = [record.getMessage() for record in caplog.records if "nothing moved" in record.getMessage()]
    assert len(told) == 1
    assert f"rank 1 (pid {os.getpid()}) at byte 0 of" in told[0] and "each rank reads for itself now" in told[0]


def test_a_rank_that_has_not_come_is_given_longer(
    shards: tuple[Shard, ...], readers: list[Reader], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pace_module, "ABSENT_PATIENCE", 3)
    board = begin(shards, readers, 2, TENSOR_BYTES, stall_s=0.2)
    one = Pace(board, 0, 0.2)
    one.reached(8 * TENSOR_BYTES)
    started_s = time.monotonic()
    one.wait(8 * TENSOR_BYTES, 9 * TENSOR_BYTES)
    assert time.monotonic() - started_s > 0.5
    assert any("rank 1, not there yet" in record.getMessage() for record in caplog.records)


def test_a_rank_that_was_killed_ends_the_wait_with_its_pid(shards: tuple[Shard, ...], readers: list[Reader]) -> None:
    board = begin(shards, readers, 2, TENSOR_BYTES, stall_s=1.0)
    child = subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(60)"])
    board.put(1, Word.PID, child.pid)
    board.put(1, Word.STARTED, started_at(child.pid) or 0)
    board.put(1, Word.STATE, State.HERE)
    one = Pace(board, 0, 1.0)
    one.reached(8 * TENSOR_BYTES)
    # Not reaped: what a killed worker is until the engine looks.
    child.send_signal(signal.SIGKILL)
    try:
        with pytest.raises(LoadError, match=rf"rank 1 \(pid {child.pid}\) is gone, at byte 0 of \d+"):
            one.wait(8 * TENSOR_BYTES, 9 * TENSOR_BYTES)
    finally:
        child.wait()


def test_a_rank_that_is_done_may_go(shards: tuple[Shard, ...]) -> None:
    board = Board.create(1, TENSOR_BYTES, total(shards))
    board.take_seat(0)
    board.put(0, Word.STARTED, 1)
    assert board.gone() == [(0, os.getpid())]
    board.put(0, Word.STATE, State.DONE)
    assert board.gone() == [] and board.slowest() == board.limit() == total(shards)


def test_an_unreadable_piece_is_counted_and_left_to_the_rank_that_wants_it(
    shards: tuple[Shard, ...], readers: list[Reader], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = os.preadv

    def failing(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        if offset == 2 * PIECE:
            raise OSError(5, "Input/output error")
        return read(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", failing)
    board = begin(shards, readers, 1, total(shards))
    one = Pace(board, 0, 30.0)
    one.wait(0, total(shards))
    one.finish()
    readers[0].join(5)
    # One in each of the three shards.
    assert (board.reader, readers[0].failed_pieces, board.is_open) == (total(shards), 3, False)


def test_a_file_that_is_gone_opens_the_gate(
    shards: tuple[Shard, ...], readers: list[Reader], caplog: pytest.LogCaptureFixture
) -> None:
    shards[1].path.unlink()
    board = begin(shards, readers, 1, total(shards))
    started_s = time.monotonic()
    Pace(board, 0, 30.0).wait(0, total(shards))
    assert board.is_open and time.monotonic() - started_s < 15
    readers[0].join(5)
    assert any("the common read ended early: " in record.getMessage() for record in caplog.records)


def test_another_process_opens_the_board_by_its_place() -> None:
    board = Board.create(3, 1 << 20, 5)
    script = (
        "import sys; from rigappliance.loader.board import Board, Word; b = Board.open(sys.argv[1], 3); b.close();"
        "b.put(2, Word.POSITION, 77); print(b.window_bytes, b.total_bytes)"
    )
    done = subprocess.run([sys.executable, "-c", script, board.place], capture_output=True, text=True)
    assert (done.stdout, board.get(2, Word.POSITION), board.get(1, Word.POSITION)) == ("1048576 5\n", 77, 0)
    with pytest.raises(ValueError, match="not a board of 2 ranks"):
        Board.open(board.place, 2)
    board.close()

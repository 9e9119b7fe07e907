"""The one pass: a thread of rank 0 reads all shards in order, ahead of the slowest rank.

It throws away what it reads: the bytes stay in the page cache, where the ranks find them. The kernel reads ahead of
whoever reads in order, and in large folios, which cost a fraction of the pages that POSIX_FADV_WILLNEED brings in one
by one: on a disk of 3 GB/s all processes together took 0.7 s of CPU where they had taken 1.4 (1.9 GiB, eight ranks).
A piece that cannot be read is left to the rank that wants it: it reads again, fails again and can name the tensor.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable

from .board import Board, Word
from .cached import all_cached
from .dropper import Dropper
from .errors import PREFIX, LoadError
from .header import Shard
from .memory import MIB
from .pace import Waiting

logger = logging.getLogger("vllm.rigappliance.loader")

# As much as a read of `dd bs=1M`; little enough to stay in the processor's cache.
READ_BYTES = MIB
# Looking for it in the page cache takes about a millisecond.
CACHED_STEP_BYTES = 64 * MIB
REPORT_S = 2.0
PAGE_BYTES = os.sysconf("SC_PAGESIZE")


class Reader(threading.Thread):
    """``drop_behind``: pages that no rank wants any more leave the page cache."""

    def __init__(self, board: Board, shards: tuple[Shard, ...], stall_s: float, drop_behind: bool) -> None:
        super().__init__(name="rigappliance-reader", daemon=True)
        self.board = board
        self.shards = shards
        self.stall_s = stall_s
        self.dropper = Dropper(shards, board.window_bytes) if drop_behind else None
        self.stopped = threading.Event()
        self.waited_s = 0.0
        self.failed_pieces = 0
        # After a look at the page cache in vain: pieces on their way would be counted again and again.
        self._look_again = 0
        self._nothing = memoryview(bytearray(READ_BYTES))
        self._started_s = self._reported_s = time.monotonic()
        self._reported = 0
        self._read_s: float | None = None

    def stop(self) -> None:
        self.stopped.set()

    @property
    def going(self) -> bool:
        return not self.stopped.is_set() and not self.board.is_open

    def run(self) -> None:
        try:
            for shard in self.shards:
                self._read(shard)
            self._read_s = time.monotonic() - self._started_s
            # Pages can go, and the ranks' times be told, once the last one has what it wants.
            self._wait(lambda: bool(self.board.active()))
        except LoadError as error:
            logger.error("%s", error)
        except OSError as error:
            # Whatever it is, the ranks meet it too, and can say which tensor it hits.
            logger.warning("%s the common read ended early: %s", PREFIX, error)
            self.board.open_gate()
        finally:
            self._finish()

    def _read(self, shard: Shard) -> None:
        descriptor = os.open(shard.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
            piece_bytes = min(READ_BYTES, max(self.board.window_bytes // 4, PAGE_BYTES))
            piece_bytes -= piece_bytes % PAGE_BYTES
            position, end = shard.first, shard.first + shard.size_bytes
            while position < end and self.going:
                then = self._skip_to(descriptor, shard, position, piece_bytes)
                if then == position and self.board.limit() > position:
                    then = min(end, position + piece_bytes)
                    self._take(descriptor, position - shard.first, then - position)
                if then > position:
                    self.board.reader = position = then
                else:
                    self._wait_for_room(position)
                self._between()
        finally:
            os.close(descriptor)

    def _skip_to(self, descriptor: int, shard: Shard, position: int, piece_bytes: int) -> int:
        """How far nothing has to be read: no rank wants it any more, or the page cache has it all."""
        end = shard.first + shard.size_bytes
        passed = self.board.slowest()
        there = min(end, max(passed, min(self.board.limit(), position + CACHED_STEP_BYTES)))
        if there < end:
            there -= (there - shard.first) % PAGE_BYTES
            if there < position + piece_bytes:
                return position
        if passed >= there:
            return there
        if position >= self._look_again:
            if all_cached(descriptor, position - shard.first, there - position):
                return there
            self._look_again = there
        return position

    def _take(self, descriptor: int, offset: int, size: int) -> None:
        """Returns when these bytes of the file are there, or cannot be had."""
        try:
            if os.preadv(descriptor, [self._nothing[:size]], offset) == size:
                return
        except OSError:
            pass
        self.failed_pieces += 1

    def _wait_for_room(self, position: int) -> None:
        self._wait(lambda: self.board.limit() <= position)

    def _wait(self, not_yet: Callable[[], bool]) -> None:
        started_s = time.monotonic()
        waiting = Waiting(self.board, self.stall_s, "the reader")
        while not_yet() and not self.stopped.is_set() and waiting.go_on():
            self._between()
        self.waited_s += time.monotonic() - started_s

    def _between(self) -> None:
        if self.dropper:
            self.dropper.behind(self.board.slowest())
        now_s = time.monotonic()
        if self._read_s is None and now_s - self._reported_s >= REPORT_S:
            done = self.board.reader
            self._report((done - self._reported) / (now_s - self._reported_s))
            self._reported_s, self._reported = now_s, done

    def _report(self, bytes_per_s: float) -> None:
        done, total = self.board.reader, max(self.board.total_bytes, 1)
        share = 100 * done // total
        logger.info("%s read %d of %d bytes (%d%%), %.0f MB/s", PREFIX, done, total, share, bytes_per_s / 1e6)

    def _finish(self) -> None:
        board, total_s = self.board, time.monotonic() - self._started_s
        if self.dropper:
            self.dropper.behind(board.slowest())
            self.dropper.close()
        read_s = total_s if self._read_s is None else self._read_s
        self._report(board.reader / max(read_s, 1e-9))
        ranks_s = sum(board.get(rank, Word.WAITED_US) for rank in range(board.ranks)) / 1e6
        logger.info(
            "%s finished after %.1f s: %d bytes read in %.1f s, window %d bytes, ranks waited %.1f s, "
            "the reader %.1f s, %d pieces failed",
            PREFIX, total_s, board.reader, read_s, board.window_bytes, ranks_s, self.waited_s, self.failed_pieces,
        )  # fmt: skip
        board.close()

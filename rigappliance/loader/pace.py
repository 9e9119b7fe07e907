"""Waiting for each other: with sleeps, since every core is wanted, and never for good."""

from __future__ import annotations

import logging
import time

from .board import Board, State, Word
from .errors import PREFIX, rank_gone
from .memory import MIB

logger = logging.getLogger("vllm.rigappliance.loader")

FIRST_SLEEP_S, LONGEST_SLEEP_S = 0.0005, 0.02
DEATH_CHECK_S = 2.0
LARGEST_PIECE_BYTES, SMALLEST_PIECE_BYTES = 4 * MIB, MIB // 4
# Building the model takes ranks of one machine different times: those that have not come yet are given longer.
ABSENT_PATIENCE = 5


class Waiting:
    """One wait: ``go_on`` is called again and again; it sleeps, and says no once there is no point any more."""

    def __init__(self, board: Board, stall_s: float, who: str) -> None:
        self.board = board
        self.stall_s = stall_s
        self.who = who
        self.sleep_s = FIRST_SLEEP_S
        self.seen = board.moves()
        self.moved_s = self.checked_s = time.monotonic()

    def go_on(self) -> bool:
        """False once the gate is open, which it opens itself after ``stall_s`` without a move.

        Raises ``LoadError`` when a rank has died.
        """
        if self.board.is_open:
            return False
        time.sleep(self.sleep_s)
        self.sleep_s = min(2 * self.sleep_s, LONGEST_SLEEP_S)
        now_s = time.monotonic()
        if now_s - self.checked_s >= min(DEATH_CHECK_S, self.stall_s / 2):
            self.checked_s = now_s
            for rank, pid in self.board.gone():
                raise rank_gone(rank, pid, self._at(rank))
            seen = self.board.moves()
            if seen != self.seen:
                self.seen, self.moved_s = seen, now_s
        patience_s = self.stall_s * (ABSENT_PATIENCE if self.board.absent() else 1)
        if now_s - self.moved_s >= patience_s and self.board.open_gate():
            logger.warning(
                "%s nothing moved for %.0f s: %s; each rank reads for itself now", PREFIX, patience_s, self.why()
            )
        return not self.board.is_open

    def why(self) -> str:
        board = self.board
        absent = board.absent()
        if absent:
            return f"{self.who} waits for rank {', '.join(map(str, absent))}, not there yet"
        slow = min(board.active(), key=lambda rank: board.get(rank, Word.POSITION), default=None)
        pace = "" if slow is None else f", rank {slow} (pid {board.get(slow, Word.PID)}) at {self._at(slow)}"
        return f"{self.who} waits, reader at byte {board.reader} of {board.total_bytes}{pace}"

    def _at(self, rank: int) -> str:
        return f"byte {self.board.get(rank, Word.POSITION)} of {self.board.total_bytes}"


class Pace:
    """A rank's side: says where it is, and waits until what it wants has been read."""

    def __init__(self, board: Board, rank: int, stall_s: float) -> None:
        self.board = board
        self.rank = rank
        self.stall_s = stall_s
        self.position = 0
        self.waited_s = 0.0
        # Within a tensor it says so only where that would fill the window: a weight loader may come back to its start.
        self.step = max(1, board.window_bytes // 4)
        # What it takes at once.
        self.piece_bytes = min(LARGEST_PIECE_BYTES, max(SMALLEST_PIECE_BYTES, board.window_bytes // 16))
        board.take_seat(rank)

    def reached(self, position: int) -> None:
        """Nothing before ``position`` is wanted any more."""
        if position > self.position:
            self.position = position
            self.board.put(self.rank, Word.POSITION, position)

    def passing(self, begin: int) -> None:
        """On the way through a tensor, whose bytes from ``begin`` on come next."""
        if begin - self.position > self.step:
            self.reached(begin)

    def wait(self, begin: int, end: int) -> None:
        """Until the bytes from ``begin`` to ``end`` have been read, or each reads for itself."""
        self.passing(begin)
        board = self.board
        if board.reader >= end or board.is_open:
            return
        board.put(self.rank, Word.NEED, end)
        started_s = time.monotonic()
        waiting = Waiting(board, self.stall_s, f"rank {self.rank}")
        while board.reader < end and waiting.go_on():
            pass
        self.waited_s += time.monotonic() - started_s
        board.put(self.rank, Word.WAITED_US, int(self.waited_s * 1e6))

    def finish(self, state: State = State.DONE) -> None:
        self.board.put(self.rank, Word.STATE, state)

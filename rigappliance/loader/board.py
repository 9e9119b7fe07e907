"""What the ranks of a load tell each other: numbers in memory that has no name and goes with the last process.

Positions are bytes in the stream of all shards. Each number has one writer but the gate, which only ever opens.
"""

from __future__ import annotations

import mmap
import os
from enum import IntEnum
from pathlib import Path

FORM = 0x51_0001
WORD_BYTES = 8
HEAD_WORDS, RANK_WORDS = 8, 8


class Head(IntEnum):
    FORM = 0
    RANKS = 1
    READER = 2
    GATE = 3
    WINDOW = 4
    TOTAL = 5


class Word(IntEnum):
    POSITION = 0
    NEED = 1
    PID = 2
    STARTED = 3
    STATE = 4
    WAITED_US = 5


class State(IntEnum):
    ABSENT = 0
    HERE = 1
    DONE = 2
    LEFT = 3


class Board:
    """``ranks`` places; made by the rank that reads, opened by the others."""

    def __init__(self, descriptor: int, ranks: int) -> None:
        self.descriptor = descriptor
        self.ranks = ranks
        size = (HEAD_WORDS + RANK_WORDS * ranks) * WORD_BYTES
        self._words = memoryview(mmap.mmap(descriptor, size)).cast("q")

    @classmethod
    def create(cls, ranks: int, window_bytes: int, total_bytes: int) -> Board:
        descriptor = os.memfd_create("rigappliance-loader", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, (HEAD_WORDS + RANK_WORDS * ranks) * WORD_BYTES)
        board = cls(descriptor, ranks)
        for word, value in ((Head.RANKS, ranks), (Head.WINDOW, window_bytes), (Head.TOTAL, total_bytes)):
            board._words[word] = value
        board._words[Head.FORM] = FORM
        return board

    @classmethod
    def open(cls, place: str, ranks: int) -> Board:
        """By a path below /proc of the process that made it. Raises ``OSError``, ``ValueError``."""
        descriptor = os.open(place, os.O_RDWR | os.O_CLOEXEC)
        try:
            board = cls(descriptor, ranks)
        except BaseException:
            os.close(descriptor)
            raise
        if (board._words[Head.FORM], board._words[Head.RANKS]) != (FORM, ranks):
            board.close()
            raise ValueError(f"{place} is not a board of {ranks} ranks")
        return board

    @property
    def place(self) -> str:
        """Where other processes of the host find it while this one lives and has it open."""
        return f"/proc/{os.getpid()}/fd/{self.descriptor}"

    def close(self) -> None:
        """Its name goes; the numbers stay as long as somebody has them mapped."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    @property
    def window_bytes(self) -> int:
        return self._words[Head.WINDOW]

    @property
    def total_bytes(self) -> int:
        return self._words[Head.TOTAL]

    @property
    def reader(self) -> int:
        """Up to here all bytes have been read from the disk."""
        return self._words[Head.READER]

    @reader.setter
    def reader(self, position: int) -> None:
        self._words[Head.READER] = position

    @property
    def is_open(self) -> bool:
        """Every rank reads for itself."""
        return self._words[Head.GATE] != 0

    def open_gate(self) -> bool:
        """True for whoever opens it, so that one of them says so."""
        first = not self.is_open
        self._words[Head.GATE] = 1
        return first

    def get(self, rank: int, word: Word) -> int:
        return self._words[HEAD_WORDS + RANK_WORDS * rank + word]

    def put(self, rank: int, word: Word, value: int) -> None:
        self._words[HEAD_WORDS + RANK_WORDS * rank + word] = value

    def take_seat(self, rank: int) -> None:
        pid = os.getpid()
        self.put(rank, Word.PID, pid)
        self.put(rank, Word.STARTED, started_at(pid) or 0)
        self.put(rank, Word.STATE, State.HERE)

    def active(self) -> list[int]:
        """Ranks that still take tensors, or have not come yet."""
        return [rank for rank in range(self.ranks) if self.get(rank, Word.STATE) in (State.ABSENT, State.HERE)]

    def absent(self) -> list[int]:
        return [rank for rank in range(self.ranks) if self.get(rank, Word.STATE) == State.ABSENT]

    def slowest(self) -> int:
        """No rank needs anything before this position any more."""
        return min((self.get(rank, Word.POSITION) for rank in self.active()), default=self.total_bytes)

    def limit(self) -> int:
        """How far the reader may go."""
        active = self.active()
        if not active:
            return self.total_bytes
        rank = min(active, key=lambda each: self.get(each, Word.POSITION))
        return max(self.get(rank, Word.POSITION) + self.window_bytes, self.get(rank, Word.NEED))

    def moves(self) -> tuple[int, ...]:
        """Changes whenever anybody gets on."""
        words = (Word.POSITION, Word.NEED, Word.STATE)
        return (self.reader, *(self.get(rank, word) for rank in range(self.ranks) for word in words))

    def gone(self) -> list[tuple[int, int]]:
        """Rank and pid of those that were loading and whose process has ended."""
        found = []
        for rank in range(self.ranks):
            if self.get(rank, Word.STATE) == State.HERE:
                pid = self.get(rank, Word.PID)
                if started_at(pid) != self.get(rank, Word.STARTED) and self.get(rank, Word.STATE) == State.HERE:
                    found.append((rank, pid))
        return found


def started_at(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot, by which a pid is known again; ``None`` once it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])

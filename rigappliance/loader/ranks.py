"""How the ranks of one load find each other's board.

Through the key-value store that their process group was made with, since a collective operation would hang all ranks
where one has died. Nothing is left of it but a few keys in rank 0's memory.
"""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from .board import Board
from .errors import PREFIX, shards_differ
from .header import Shard
from .pace import ABSENT_PATIENCE

logger = logging.getLogger("vllm.rigappliance.loader")


@dataclass(frozen=True)
class Seat:
    """A rank's place at a board; the one that leads has the thread that reads."""

    board: Board
    rank: int
    leads: bool


# How a stream of shards comes to a seat; the second argument is the window in bytes.
Meet = Callable[[tuple[Shard, ...], int], Seat]


def alone(shards: tuple[Shard, ...], window_bytes: int) -> Seat:
    return Seat(Board.create(1, window_bytes, length_of(shards)), 0, True)


def length_of(shards: tuple[Shard, ...]) -> int:
    return sum(shard.size_bytes for shard in shards)


class StoreMeeting:
    """``store`` as torch.distributed has it: set, get, wait. ``numbers``: one for each load, the same for all ranks."""

    def __init__(self, store: Any, rank: int, ranks: int, stall_s: float, numbers: Iterator[int] | None = None) -> None:
        self.store = store
        self.rank = rank
        self.ranks = ranks
        self.limit_s = stall_s * ABSENT_PATIENCE
        self.numbers = numbers or itertools.count()

    def __call__(self, shards: tuple[Shard, ...], window_bytes: int) -> Seat:
        """Raises ``LoadError`` where rank 0 has other files of the same names."""
        key = f"rigappliance_loader/{next(self.numbers)}"
        if self.rank == 0:
            seat = Seat(Board.create(self.ranks, window_bytes, length_of(shards)), 0, True)
            self.store.set(key, json.dumps({"host": host(), "place": seat.board.place, "shards": described(shards)}))
            return seat
        try:
            self.store.wait([key], timedelta(seconds=self.limit_s))
            told = json.loads(self.store.get(key))
            board = self._board(told, shards)
        except (RuntimeError, OSError, ValueError) as error:
            logger.warning("%s rank %d reads for itself: %s", PREFIX, self.rank, str(error).splitlines()[0])
            return alone(shards, window_bytes)
        compare(shards, told["shards"])
        return Seat(board, self.rank, False)

    def _board(self, told: dict[str, Any], shards: tuple[Shard, ...]) -> Board:
        if told["host"] != host():
            raise ValueError("rank 0 runs on another host")
        if [name for name, _ in told["shards"]] != [str(shard.path) for shard in shards]:
            raise ValueError(f"it has {len(shards)} shards to read, rank 0 has {len(told['shards'])}, or others")
        return Board.open(told["place"], self.ranks)


def described(shards: tuple[Shard, ...]) -> list[tuple[str, str]]:
    return [(str(shard.path), str(shard.identity)) for shard in shards]


def compare(shards: tuple[Shard, ...], leaders: list[list[str]]) -> None:
    for shard, (_, identity) in zip(shards, leaders, strict=True):
        if str(shard.identity) != identity:
            raise shards_differ(shard.name, str(shard.identity), identity)


def host() -> str:
    """The running kernel and the process-id namespace: where a path below /proc means the same."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot} {Path('/proc/self/ns/pid').readlink()}"

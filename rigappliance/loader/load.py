"""One load: the tensors of a stream of shards, one after the other, and the common read that keeps ahead of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .board import State
from .header import Shard
from .intercept import Intercept
from .memory import free_bytes, window_for
from .options import Options
from .pace import Pace
from .ranks import Meet, length_of
from .reader import Reader


def weights(
    shards: tuple[Shard, ...],
    intercept: Intercept,
    meet: Meet,
    options: Options,
    wanted: Callable[[str], bool] = lambda name: True,
    bar: Callable[[tuple[Shard, ...]], Iterable[Shard]] = iter,
) -> Iterator[tuple[str, Any]]:
    """Name and tensor, in the order of the files. To be used while ``intercept`` is active."""
    free = free_bytes()
    seat = meet(shards, options.window_bytes or window_for(free))
    pace = Pace(seat.board, seat.rank, options.stall_s)
    reader = None
    if seat.leads:
        # Where everything fits well, the next start finds it in the page cache.
        drop = options.drop_behind if options.drop_behind is not None else length_of(shards) > free // 2
        reader = Reader(seat.board, shards, options.stall_s, drop)
        reader.start()
    else:
        seat.board.close()
    state = State.LEFT
    try:
        for shard in bar(shards):
            opened = intercept.holdings.open(shard, pace)
            for place in shard.places:
                if wanted(place.name):
                    pace.reached(shard.first + place.begin)
                    yield place.name, opened.tensor(place)
            pace.reached(shard.first + shard.size_bytes)
            opened.file.check()
        state = State.DONE
    finally:
        pace.finish(state)
        if reader and state is State.LEFT:
            # Its process is about to end, and the thread with it.
            seat.board.open_gate()
            reader.stop()

"""What goes wrong while loading, in one line that names the shard, the tensor and the byte.

The supervisor's diagnosis knows these texts: they begin with `rigappliance loader:` and their words stay as they are.
"""

from __future__ import annotations

import os

PREFIX = "rigappliance loader:"


class LoadError(RuntimeError):
    """Base of all; the engine ends its start with it."""


def header_damaged(shard: str, detail: str) -> LoadError:
    return LoadError(f"{PREFIX} {shard}: the header is damaged: {detail}")


def ends_early(shard: str, part: str, offset: int, count: int, size: int) -> LoadError:
    """``count`` bytes from ``offset`` were wanted, of a tensor or the header; the file has ``size`` bytes now."""
    return LoadError(
        f"{PREFIX} {shard}: {part}: the file ends at byte {size}, expected {count} bytes from byte {offset}"
    )


def read_failed(shard: str, part: str, offset: int, count: int, error: OSError) -> LoadError:
    reason = f"{os.strerror(error.errno)} (errno {error.errno})" if error.errno else str(error)
    return LoadError(f"{PREFIX} {shard}: {part}: reading {count} bytes from byte {offset} failed: {reason}")


def not_opened(shard: str, error: OSError) -> LoadError:
    return LoadError(f"{PREFIX} {shard}: cannot be opened: {error.strerror or error}")


def changed(shard: str, found: str, expected: str) -> LoadError:
    return LoadError(
        f"{PREFIX} {shard}: the file has changed since its header was read: found {found}, expected {expected}"
    )


def shards_differ(shard: str, found: str, expected: str) -> LoadError:
    return LoadError(f"{PREFIX} {shard}: ranks see different files: found {found}, rank 0 has {expected}")


def rank_gone(rank: int, pid: int, where: str) -> LoadError:
    return LoadError(f"{PREFIX} rank {rank} (pid {pid}) is gone, at {where}; the other ranks cannot go on")

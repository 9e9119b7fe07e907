"""The causes that a failure can have: name, exit code, restart decision and remedy of each.

An exit code never changes its meaning, since systemd's restart policy and
operators' scripts act on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Decision(StrEnum):
    """What follows from a cause."""

    RETRY = "retry"  # it may be gone: start again, after growing pauses, so often and no more
    COMPACT = "compact"  # compact the memory, then start again
    STOP = "stop"  # a restart cannot mend it: stop and say what to change
    NONE = "none"  # nothing failed


class Fact(StrEnum):
    """What somebody changes to mend a cause; while these are as they were, a start would fail as the last one did."""

    CONFIGURATION = "configuration"
    CHECKPOINT = "checkpoint"
    MEMORY = "memory"  # RAM and the unit's limit
    SWAP = "swap"
    CARDS = "cards"  # their number and models, and the driver
    TOOLCHAIN = "toolchain"
    ENGINE = "engine"
    DISK = "disk"  # free space
    PORT = "port"
    BOOT = "boot"
    CACHES = "caches"  # what earlier starts compiled


@dataclass(frozen=True)
class Cause:
    """``title`` completes "the engine failed: …"; ``remedy`` is one clause, as in errors.

    ``mended_by`` is empty where a restart may help as it is.
    """

    name: str
    exit_code: int
    decision: Decision
    title: str
    remedy: str
    mended_by: tuple[Fact, ...] = ()

"""A disk that fails while the real engine loads from it by our loader: named, without hanging, nothing served.

The disk is a file system of its own (bench/hdd), so these need root and /dev/fuse; `make faults` runs them.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.hdd import BadRange, HardDisk, SlowRange, Truncation, mounted, unavailable
from rigappliance.demo.checkpoint import write_checkpoint
from rigappliance.launch.proctree import command_line
from tests.engine.damage import SHARD
from tests.engine.launching import Launch
from tests.engine.verdict import verdict
from tests.standin import wait_until

pytestmark = [
    pytest.mark.engine,
    pytest.mark.fault,
    pytest.mark.skipif(unavailable() is not None, reason=str(unavailable())),
]
TWO_RANKS = {"RIGAPPLIANCE_ENGINE__TENSOR_PARALLEL": "2", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[HardDisk]:
    write_checkpoint(tmp_path / "checkpoint")
    with mounted(tmp_path / "checkpoint") as disk:
        yield disk


def on(disk: HardDisk) -> dict[str, str]:
    return {"RIGAPPLIANCE_MODEL__PATH": str(disk.path)}


def size_of(disk: HardDisk) -> int:
    return (disk.path / SHARD).stat().st_size


def test_a_bad_sector_is_the_disks_failure(disk: HardDisk, launch: Callable[..., Launch]) -> None:
    disk.fail(BadRange(SHARD, size_of(disk) // 2, 4096))
    one = launch(environment=on(disk))
    ended = verdict(one, "disk-failing", "bad sector in a shard while it loads", one.started_s)
    assert SHARD in ended.evidence[0] and "Input/output error" in ended.evidence[0]


def test_a_shard_that_is_cut_while_it_loads_is_cut(disk: HardDisk, launch: Callable[..., Launch]) -> None:
    half = size_of(disk) // 2
    disk.fail(Truncation(SHARD, half, after_bytes=half // 2))
    one = launch(environment=on(disk))
    ended = verdict(one, "checkpoint-truncated", "shard cut while it loads", one.started_s)
    assert SHARD in ended.evidence[0] and f"ends at byte {half}" in ended.evidence[0]


def test_a_rank_that_is_killed_while_it_loads_ends_the_start(disk: HardDisk, launch: Callable[..., Launch]) -> None:
    disk.fail(SlowRange(SHARD, size_of(disk) // 2, 4096, seconds=20.0))
    one = launch(environment=on(disk) | TWO_RANKS)
    one.wait_state(lambda state: state["phase"] == "weights")
    # The phase is rank 0's word; the other may not have its name yet.
    wait_until(lambda: any("Worker_TP1" in command_line(stat.pid) for stat in one.processes()))
    killed_s = time.monotonic()
    os.kill(one.part("Worker_TP1"), signal.SIGKILL)
    ended = verdict(one, "part-killed", "kill -9 of a rank while it loads", killed_s)
    assert ended.seconds < 15

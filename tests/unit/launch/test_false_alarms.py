"""Engines that are well, however slow: nothing is called a failure, and none is given up. The bench does a hundred."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.unit.launch.healthy import healthy_start
from tests.unit.launch.rig import make_engine

STARTS = 10


def test_healthy_starts_raise_no_alarm(tmp_path: Path) -> None:
    make_engine(tmp_path)
    rng = random.Random(4)

    def one(number: int, seed: int) -> str:
        root = tmp_path / f"start{number}"
        root.mkdir()
        done = healthy_start(number, root, tmp_path, random.Random(seed), pace=0.002)
        return "" if done.clean else f"{done}: {(root / 'launch.err').read_text()}"

    with ThreadPoolExecutor(3) as pool:
        seeds = [rng.randrange(2**32) for _ in range(STARTS)]
        alarms = list(pool.map(one, range(STARTS), seeds))
    assert [alarm for alarm in alarms if alarm] == []

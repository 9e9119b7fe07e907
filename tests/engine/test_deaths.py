"""The deaths that the stock server hides, under `launch`: noticed, named, and nothing left.

Stock vLLM 0.32.0, measured: a killed worker or core leaves `/health` at 200 and
ends with exit status 0 after 5 s; a killed API process leaves three engine
processes; a stopped worker is never noticed.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest

from tests.engine.launching import NOTHING, EngineHome, Launch

pytestmark = pytest.mark.engine

NOTICE_LIMIT_S = 5.0


@pytest.mark.parametrize("part", ["Worker", "EngineCore", "API server"])
def test_a_killed_process_is_noticed(part: str, launch: Callable[..., Launch]) -> None:
    one = launch()
    state = one.wait_ready()
    pid = state["engine_pid"] if part == "API server" else one.part(part)
    killed_s = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    code = one.process.wait(30)
    noticed_s = time.monotonic() - killed_s
    print(f"{part} killed: launch over after {noticed_s:.2f} s")
    assert code == 7
    assert noticed_s < NOTICE_LIMIT_S
    named = "SIGKILL" if part == "API server" else f"VLLM::{part}"[:15]
    assert named in one.errors()
    assert one.leftovers() == NOTHING
    final = one.own_state()
    assert final and (final["outcome"], final["exit_code"]) == ("died", 7)


def test_a_wedged_worker_is_noticed_within_the_stall_time(launch: Callable[..., Launch]) -> None:
    one = launch(probe_interval="2s", probe_timeout="4s")
    one.wait_ready()
    os.kill(one.part("Worker"), signal.SIGSTOP)
    stopped_s = time.monotonic()
    code = one.process.wait(60)
    noticed_s = time.monotonic() - stopped_s
    print(f"Worker stopped: launch over after {noticed_s:.2f} s")
    # One interval until the next probe, the probe's own time, the engine's end.
    assert noticed_s < 2 + 4 + 5
    assert code == 6
    assert "hung while serving" in one.errors()
    assert one.leftovers() == NOTHING


def test_a_start_that_hangs_is_given_up_with_its_phase(launch: Callable[..., Launch], home: EngineHome) -> None:
    one = launch(stall_timeout="6s")
    one.wait_phase("workers")
    deadline = time.monotonic() + 30
    while not any(stat.name.startswith("VLLM::Worker") for stat in one.processes()) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(one.part("Worker"), signal.SIGSTOP)
    stopped_s = time.monotonic()
    code = one.process.wait(60)
    assert code == 6
    assert 4 < time.monotonic() - stopped_s < 20
    state = one.own_state()
    assert state and f"hung during {state['phase']}" in one.errors()
    assert one.leftovers() == NOTHING


def test_a_killed_supervisor_leaves_nothing(launch: Callable[..., Launch]) -> None:
    one = launch()
    one.wait_phase("weights")
    os.kill(one.process.pid, signal.SIGKILL)
    one.process.wait()
    assert one.leftovers(limit_s=10) == NOTHING


def test_supervisor_and_guard_killed_together_are_cleaned_up_by_the_next_launch(launch: Callable[..., Launch]) -> None:
    one = launch()
    one.wait_phase("weights")
    guard = next(stat for stat in one.processes() if stat.ppid == one.process.pid)
    for pid in (one.process.pid, guard.pid):
        os.kill(pid, signal.SIGKILL)
    one.process.wait()
    two = launch()
    two.wait_phase("config")
    assert "was killed during weights" in two.errors()
    assert one.leftovers()["processes"] == []
    assert two.stop() == 130
    assert two.leftovers() == NOTHING

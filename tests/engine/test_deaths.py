"""The deaths that the stock server hides, under `launch`: noticed, named, and nothing left.

Stock vLLM 0.32.0, measured: a killed worker or core leaves `/health` at 200 and
ends with exit status 0 after 5 s; a killed API process leaves three engine
processes; a stopped worker is never noticed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from tests.engine.launching import NOTHING, START_LIMIT_S, EngineHome, Launch
from tests.engine.verdict import lost, verdict
from tests.faults import record

pytestmark = pytest.mark.engine

NOTICE_LIMIT_S = 5.0


@pytest.mark.parametrize("part", ["Worker", "EngineCore", "API server"])
def test_a_killed_process_is_noticed(part: str, launch: Callable[..., Launch]) -> None:
    one = launch()
    state = one.wait_ready()
    pid = state["engine_pid"] if part == "API server" else one.part(part)
    killed_s = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    ended = verdict(one, "part-killed", f"kill -9 of the {part} while serving", killed_s)
    assert ended.seconds < NOTICE_LIMIT_S
    named = "SIGKILL" if part == "API server" else f"VLLM::{part}"[:15]
    assert named in one.errors()
    final = one.own_state()
    assert final and final["outcome"] == "died"


def test_a_wedged_worker_is_noticed_within_the_stall_time(launch: Callable[..., Launch]) -> None:
    one = launch(probe_interval="2s", probe_timeout="4s")
    one.wait_ready()
    os.kill(one.part("Worker"), signal.SIGSTOP)
    ended = verdict(one, "hung", "SIGSTOP of the worker while serving", time.monotonic())
    # One interval until the next probe, the probe's own time, the stacks and the engine's end.
    assert ended.seconds < 2 + 4 + 10
    assert "hung while serving" in one.errors()
    assert any(text.startswith("Worker") and "state T (stopped" in text for text in ended.evidence)


def test_a_start_that_hangs_is_given_up_with_its_phase(launch: Callable[..., Launch], home: EngineHome) -> None:
    one = launch(stall_timeout="6s")
    one.wait_phase("workers")
    deadline = time.monotonic() + START_LIMIT_S
    while not any(stat.name.startswith("VLLM::Worker") for stat in one.processes()) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(one.part("Worker"), signal.SIGSTOP)
    ended = verdict(one, "hung", "SIGSTOP of the worker during the start", time.monotonic())
    assert 4 < ended.seconds < 25
    state = one.own_state()
    assert state and f"hung during {state['phase']}" in one.errors()
    assert any(text.startswith("Worker") and "state T (stopped" in text for text in ended.evidence)


def test_a_killed_supervisor_leaves_nothing_and_is_named_after(launch: Callable[..., Launch], home: EngineHome) -> None:
    one = launch()
    one.wait_phase("weights")
    os.kill(one.process.pid, signal.SIGKILL)
    killed_s = time.monotonic()
    one.process.wait()
    assert one.leftovers(limit_s=10) == NOTHING
    command = [sys.executable, "-m", "rigappliance", "why", "-c", str(home.config()), "--json"]
    told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout)
    assert (told["cause"], told["exit_code"]) == ("supervisor-killed", 87)
    evidence = [item["text"] for item in told["evidence"]]
    assert evidence and lost(one) == ""
    record(
        "kill -9 of the supervisor during a start",
        cause=told["cause"],
        evidence=evidence[0],
        decision="restart (systemd's, at the signal)",
        seconds=time.monotonic() - killed_s,
    )


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
    named = two.home.records("failures.jsonl")[-1]
    assert (named["cause"], named["phase"]) == ("supervisor-killed", "weights")
    assert one.leftovers()["processes"] == []
    assert two.stop() == 130
    assert two.leftovers() == NOTHING
    assert lost(one) == ""
    record(
        "kill -9 of the supervisor and its guard during a start",
        cause=named["cause"],
        evidence=named["diagnosis"]["evidence"][0]["text"],
        decision="restart, after cleaning up",
        seconds=None,
    )

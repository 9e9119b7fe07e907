"""What a launch left whose supervisor and guard were both killed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rigappliance.launch import earlier
from rigappliance.launch.earlier import supervisor_alive, sweep_earlier
from rigappliance.launch.leftovers import remove_shared_memory, shared_memory_names
from rigappliance.launch.proctree import read_stat
from rigappliance.launch.state import PhaseRecord, StartState

SHARED_MEMORY = Path("/dev/shm")


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch) -> StartState:
    """The state of a launch that has no processes any more; what is left is not waited for long."""
    monkeypatch.setattr(earlier, "GUARD_S", 0.2)
    return StartState(uuid.uuid4().hex, 2**22 + 1, 1, time.time(), "http://x", "tiny", "0.32.0", phase="weights")


@pytest.fixture
def segment() -> Iterator[Path]:
    path = SHARED_MEMORY / f"psm_rigtest_{random.SystemRandom().randrange(10**11, 10**12)}"
    yield path
    path.unlink(missing_ok=True)


def test_survivors_are_ended_and_others_are_not(state: StartState, segment: Path) -> None:
    mine = subprocess.Popen(
        [sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"],
        env={"RIGAPPLIANCE_RUN_ID": state.run_id},
        start_new_session=True,
    )
    other = subprocess.Popen(["sleep", "600"], env={"RIGAPPLIANCE_RUN_ID": "another"})
    segment.write_bytes(b"x")
    try:
        time.sleep(0.2)
        notices = sweep_earlier(state)
        assert mine.wait(5) == -9
        assert other.poll() is None
        assert not segment.exists()
        assert notices[0] == f"the launch before this one (pid {state.supervisor_pid}) was killed during weights"
        assert notices[1].startswith("ended 1 process(es) that it left: python")
        assert segment.name in notices[2]
    finally:
        for child in (mine, other):
            child.kill()
            child.wait()


def test_a_launch_that_ended_properly_leaves_nothing_to_say(state: StartState, segment: Path) -> None:
    segment.write_bytes(b"x")
    assert sweep_earlier(replace(state, ended=state.started + 60)) == []
    assert segment.exists()


def test_segments_older_than_the_launch_are_kept(state: StartState, segment: Path) -> None:
    segment.write_bytes(b"x")
    sweep_earlier(replace(state, started=time.time() + 60))
    assert segment.exists()


def test_segments_are_removed_although_the_clock_was_set_back_meanwhile(state: StartState, segment: Path) -> None:
    later = PhaseRecord("weights", time.time() - 60)
    segment.write_bytes(b"x")
    sweep_earlier(replace(state, started=time.time() + 3600, phases=[PhaseRecord("config", state.started), later]))
    assert not segment.exists()


def test_a_snapshot_keeps_what_was_there_and_an_open_descriptor_keeps_the_rest(segment: Path) -> None:
    segment.write_bytes(b"x")
    assert segment.name in shared_memory_names()
    assert remove_shared_memory(shared_memory_names()) == []
    others = shared_memory_names() - {segment.name}
    with segment.open("rb"):
        assert remove_shared_memory(others) == []
    assert remove_shared_memory(others) == [segment.name]
    assert not segment.exists()


def test_the_supervisor_is_alive_only_with_its_own_start_time(state: StartState) -> None:
    own = read_stat(os.getpid())
    assert own is not None
    alive = replace(state, supervisor_pid=own.pid, supervisor_start_ticks=own.start_ticks)
    assert supervisor_alive(alive)
    assert not supervisor_alive(replace(alive, supervisor_start_ticks=own.start_ticks - 1))
    assert not supervisor_alive(state)

"""Starts of the real engine that cannot work: named at once where the facts say so, and after the fact otherwise."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rigappliance.demo.checkpoint import write_checkpoint
from tests.engine.launching import NOTHING, EngineHome, Launch

pytestmark = pytest.mark.engine


@pytest.fixture
def truncated(tmp_path: Path) -> Path:
    write_checkpoint(tmp_path / "truncated")
    shard = tmp_path / "truncated" / "model-00002-of-00003.safetensors"
    with shard.open("r+b") as file:
        file.truncate(shard.stat().st_size - 1000)
    return tmp_path / "truncated"


def test_a_truncated_shard_is_refused_before_the_start(truncated: Path, home: EngineHome) -> None:
    command = [sys.executable, "-m", "rigappliance", "launch", "-c", str(home.config())]
    environment = {"RIGAPPLIANCE_MODEL__PATH": str(truncated), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 4
    assert "model-00002-of-00003.safetensors" in done.stderr


def test_a_forced_start_of_it_fails_with_the_engines_own_cause(truncated: Path, launch: Callable[..., Launch]) -> None:
    one = launch("--force", environment={"RIGAPPLIANCE_MODEL__PATH": str(truncated)})
    assert one.process.wait(120) == 5
    errors = one.errors()
    assert "started by force although" in errors
    assert "SafetensorError" in errors
    assert "during weights" in errors
    assert one.leftovers() == NOTHING


@pytest.mark.parametrize("phase", ["process start", "workers", "compile"])
def test_a_stop_during_a_start_leaves_nothing(phase: str, launch: Callable[..., Launch]) -> None:
    one = launch()
    one.wait_phase(phase)
    assert one.stop(signal.SIGINT if phase == "workers" else signal.SIGTERM) == 130
    assert f"during {phase}, before it was ready" in one.errors()
    assert one.leftovers() == NOTHING

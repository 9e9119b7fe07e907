"""`rigappliance status` about a start that is over, and one whose clock jumped."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from rigappliance.cli import group
from rigappliance.launch.proctree import read_stat
from rigappliance.launch.state import PhaseRecord, StartState, StateDirectory


def status(root: Path, *options: str) -> tuple[int, str]:
    config = root / "rig.json"
    config.write_text(json.dumps({"profile": "demo", "state_dir": str(root)}))
    result = CliRunner().invoke(group, ["status", "-c", str(config), *options], standalone_mode=False)
    return int(result.return_value), result.output


def running_here(started: float, started_s: float) -> StartState:
    own = read_stat(os.getpid())
    assert own is not None
    phases = [PhaseRecord("process start", started, started + 5, seconds=5.0), PhaseRecord("weights", started + 5)]
    return StartState(
        "f00d", own.pid, own.start_ticks, started, "http://x", "tiny", "0.32.0",
        phase="weights", phases=phases, started_s=started_s,
    )  # fmt: skip


@pytest.mark.parametrize("jump_s", [0.0, 7 * 3600.0, -7 * 3600.0])
def test_times_are_right_whatever_the_clock_was_set_to(tmp_path: Path, jump_s: float) -> None:
    """The start began 65 s ago by the monotonic clock; the wall's clock has jumped since."""
    state = running_here(time.time() - 65 + jump_s, time.monotonic() - 65)
    StateDirectory(tmp_path).write(state)
    code, output = status(tmp_path, "--json")
    content: dict[str, Any] = json.loads(output)
    assert (code, content["running"]) == (0, True)
    assert content["elapsed_s"] == pytest.approx(65, abs=3)
    assert [phase["seconds"] for phase in content["phases"]] == [5.0, pytest.approx(60, abs=3)]
    assert "started 1 min 0" in status(tmp_path)[1]


def test_a_failure_is_named_with_its_code(tmp_path: Path) -> None:
    state = running_here(time.time() - 65, time.monotonic() - 65)
    state.ended, state.elapsed_s, state.exit_code, state.cause = time.time(), 65.0, 62, "checkpoint-truncated"
    state.outcome, state.message = "start-failed", "the engine left"
    StateDirectory(tmp_path).write(state)
    code, output = status(tmp_path)
    assert code == 11
    assert "cause: checkpoint-truncated (exit code 62)" in output
    content = json.loads(status(tmp_path, "--json")[1])
    assert (content["cause"], content["exit_code"], content["outcome"]) == ("checkpoint-truncated", 62, "start-failed")
    assert content["elapsed_s"] == 65.0

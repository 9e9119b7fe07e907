"""The stand-in answers, and ends, as the recording of the real engine says; tests/engine holds that to the real one."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.standin import PACKAGE, RECORDINGS
from tests.transcript import ASKS, METRICS, RECORDING, Recorder, differences, metric_names, real_engine

Recorded = dict[str, dict[str, Any]]


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    """The real engine's arguments, checkpoint and environment, but for the interpreter."""
    recorder = real_engine(Path(sys.executable), tmp_path)
    recorder.argv = [sys.executable, "-S", str(PACKAGE), *recorder.argv[1:]]
    # Slow enough for a look at it while it loads, and for a request to run for a while.
    (tmp_path / "standin.json").write_text('{"pace": 0, "pause_s": 0.002, "token_s": 0.005}')
    recorder.environment = {
        **recorder.environment,
        "RIGAPPLIANCE_STANDIN": str(tmp_path / "standin.json"),
        "RIGAPPLIANCE_STANDIN_RECORDINGS": str(RECORDINGS),
    }
    recorder.patience_s = 1.0
    return recorder


@pytest.fixture(scope="module")
def recorded() -> Recorded:
    content: Recorded = json.loads(RECORDING.read_text())
    return content


def test_endpoints_processes_and_the_death_of_a_worker(recorder: Recorder, recorded: Recorded) -> None:
    seen, was = recorder.endpoints_and_a_killed_worker(), recorded["endpoints"]
    assert was["asked"].keys() == ASKS.keys()
    assert differences(was["asked"], seen["asked"]) == {}
    assert metric_names(seen["metrics"]) == metric_names(METRICS.read_text())
    for part in ("while loading", "processes", "memory"):
        assert seen[part] == was[part], part
    assert without_time(seen["worker killed"]) == without_time(was["worker killed"])
    assert seen["worker killed"]["ended_s"] == pytest.approx(was["worker killed"]["ended_s"], abs=2)


def without_time(end: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in end.items() if key != "ended_s"}


def test_a_core_that_is_killed_at_work(recorder: Recorder, recorded: Recorded) -> None:
    seen, was = recorder.killed_core(), recorded["core killed"]
    part = "asked without a declared key"
    assert differences(was[part], seen[part]) == {}
    for part in ("running when the core was killed", "asked of a dead core"):
        assert differences({part: was[part]}, {part: seen[part]}) == {}
    assert without_time(seen["core killed"]) == without_time(was["core killed"])


def test_a_core_that_is_killed_idle(recorder: Recorder, recorded: Recorded) -> None:
    seen, was = recorder.killed_quiet_core(), recorded["idle core killed"]
    part = "asked of a dead core, idle"
    assert differences(was[part], seen[part]) == {}
    assert without_time(seen["then"]) == without_time(was["then"])


def test_a_stop(recorder: Recorder, recorded: Recorded) -> None:
    assert without_time(recorder.stopped()) == without_time(recorded["stopped"])


def test_a_stop_while_it_loads(recorder: Recorder, recorded: Recorded) -> None:
    seen = recorder.stopped_while_loading("Starting to load model")
    assert without_time(seen) == without_time(recorded["stopped while loading"])


def test_a_killed_api_server(recorder: Recorder, recorded: Recorded) -> None:
    assert recorder.killed_api_server() == recorded["API server killed"]

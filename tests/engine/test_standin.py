"""The real engine is still what the recording of it says, to which the stand-in is held."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rigappliance.render.vllm import CACHES, DEVICE_ENVIRONMENT
from tests.engine.launching import EngineHome
from tests.transcript import METRICS, RECORDING, Recorder, differences, metric_names, real_engine

pytestmark = pytest.mark.engine


@pytest.fixture
def recorder(home: EngineHome, tmp_path: Path) -> Recorder:
    recorder = real_engine(home.python, tmp_path)
    # Shared with the other tests' engines, so that it compiles nothing again.
    caches = {variable: str(home.state_dir / "cache" / name) for name, variable in CACHES.items()}
    recorder.environment = {**recorder.environment, **DEVICE_ENVIRONMENT["cpu"], **caches}
    return recorder


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(RECORDING.read_text())
    return content


def test_endpoints_processes_and_the_death_of_a_worker(recorder: Recorder, recorded: dict[str, Any]) -> None:
    seen, was = recorder.endpoints_and_a_killed_worker(), recorded["endpoints"]
    assert differences(was["asked"], seen["asked"]) == {}
    assert metric_names(seen["metrics"]) == metric_names(METRICS.read_text())
    assert (seen["while loading"], seen["processes"]) == (was["while loading"], was["processes"])
    assert (seen["worker killed"]["health"], seen["worker killed"]["status"]) == (
        was["worker killed"]["health"],
        was["worker killed"]["status"],
    )


@pytest.mark.fault
def test_the_death_of_the_core(recorder: Recorder, recorded: dict[str, Any]) -> None:
    seen, was = recorder.killed_core(), recorded["core killed"]
    for part in ("asked without a declared key",):
        assert differences(was[part], seen[part]) == {}
    name = "running when the core was killed"
    assert differences({name: was[name]}, {name: seen[name]}) == {}
    # It leaves within seconds, and until then answers with 500: the recording came too late for an answer.
    dead = seen["asked of a dead core"]
    assert dead == was["asked of a dead core"] or dead["status"] == 500, dead
    assert seen["core killed"]["status"] == was["core killed"]["status"]


@pytest.mark.fault
def test_stops(recorder: Recorder, recorded: dict[str, Any]) -> None:
    loading = recorder.stopped_while_loading("Starting to load model")
    assert loading["status"] == recorded["stopped while loading"]["status"]
    serving = recorder.stopped()
    assert serving["status"] == recorded["stopped"]["status"]

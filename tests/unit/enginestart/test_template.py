"""Processes that the template forks are what spawned ones would be, and its end is not theirs."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rigappliance.enginestart import template
from rigappliance.launch.proctree import all_pids, command_line

MODULE = "tests.unit.enginestart.processes"


@pytest.fixture(scope="module")
def run() -> tuple[dict[str, Any], str]:
    done = subprocess.run([sys.executable, "-m", MODULE], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    content: dict[str, Any] = json.loads(done.stdout)
    return content, done.stderr


@pytest.fixture
def found(run: tuple[dict[str, Any], str]) -> dict[str, Any]:
    return run[0]


def test_a_process_is_forked_from_the_template(found: dict[str, Any]) -> None:
    told, end = found["told"]
    assert told["marked"] == ["before the fork"]
    assert told["parent"] == found["template"] != found["own"]
    assert end == {"code": 0}


def test_it_has_the_variables_of_now_and_the_arguments_of_its_parent(found: dict[str, Any]) -> None:
    told = found["told"][0]
    assert told["environ"]["LOCAL_WORLD_SIZE"] == "2"
    assert told["argv"][0].endswith("processes.py")


def test_its_signals_are_those_of_a_fresh_process(found: dict[str, Any]) -> None:
    assert found["told"][0]["sigint"] and found["told"][0]["sigterm"]


def test_two_processes_draw_different_numbers(found: dict[str, Any]) -> None:
    assert found["told"][0]["random"] != found["again"][0]["random"]


def test_descriptors_of_processes_that_still_run_are_not_carried_along(found: dict[str, Any]) -> None:
    assert found["beside"][0]["descriptors"] == found["again"][0]["descriptors"]


def test_a_forked_process_starts_others_the_same_way(found: dict[str, Any]) -> None:
    worker, core, end = found["nested"]
    assert worker["marked"] == ["before the fork"]
    assert worker["parent"] == found["template"]
    assert worker["pid"] != core["pid"]
    assert core["code"] == end["code"] == 0


def test_exit_codes_are_told(found: dict[str, Any]) -> None:
    codes = found["codes"]
    assert (codes["left"], codes["failed"], codes["alive"], codes["killed"]) == (7, 1, None, -9)


def test_a_traceback_is_printed(run: tuple[dict[str, Any], str]) -> None:
    assert "ValueError: broken on purpose" in run[1]


def test_a_variable_that_would_be_ignored_means_a_fresh_interpreter(run: tuple[dict[str, Any], str]) -> None:
    found, log = run
    told, end = found["spawned"]
    assert told["marked"] == [] and told["parent"] == found["own"]
    assert told["environ"]["LD_PRELOAD_NOT"] == "x"
    assert end == {"code": 0}
    assert "is spawned as by the stock engine: LD_PRELOAD_NOT was set after the imports" in log


def test_a_retired_template_still_tells_the_ends(found: dict[str, Any]) -> None:
    assert "reaper.py" in found["reaper"]
    assert found["codes"]["ended after the template retired"] == -10


def test_the_end_of_the_template_is_not_the_end_of_its_processes(run: tuple[dict[str, Any], str]) -> None:
    found, log = run
    assert found["codes"]["template gone, alive"] is False
    assert found["codes"]["end that nobody saw"] == 255
    told, end = found["after"]
    assert told["marked"] == [] and told["parent"] == found["own"] and end == {"code": 0}
    assert "nothing to fork it from" in log


def test_nothing_is_left(tmp_path: Path) -> None:
    """The first process is killed: the template leaves when nobody can ask any more."""
    script = f"import {MODULE} as p, os\np.prepare()\nprint(os.getpid(), flush=True); os.kill(os.getpid(), 9)\n"
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    process.communicate(timeout=60)
    assert process.returncode == -9
    deadline = time.monotonic() + 10
    while left := [pid for pid in all_pids() if str(tmp_path) in command_line(pid)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.02)


def test_numpys_numbers_are_drawn_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[tuple[object, ...]] = []
    numpy = SimpleNamespace(random=SimpleNamespace(seed=lambda *arguments: seeds.append(arguments)))
    monkeypatch.setitem(sys.modules, "numpy", numpy)
    template.reseed()
    # From the system's entropy: no number of ours.
    assert seeds == [()]

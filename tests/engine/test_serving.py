"""One start of the real engine, looked at from every side, and its stop."""

from __future__ import annotations

import itertools
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rigappliance.demo.checkpoint import ANSWER
from rigappliance.endpoint import Endpoint, stream_chat
from rigappliance.plan.coefficients import shipped
from tests.engine.launching import NOTHING, EngineHome, Launch
from tests.faults import record
from tests.standin import wait_until

pytestmark = pytest.mark.engine

# The first of them may have to compile; these are the phases of the CPU build, which says nothing of its profiling run.
PHASES = ["process start", "config", "workers", "weights", "compile", "KV cache", "HTTP", "ready"]


class Systemd(threading.Thread):
    """The other end of NOTIFY_SOCKET: every datagram with the time at which it came."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(str(path))
        self.messages: list[tuple[float, str]] = []

    def run(self) -> None:
        while True:
            message = self.sock.recv(65536).decode()
            self.messages.append((time.time(), message))

    def first(self, text: str) -> float | None:
        return next((at for at, message in self.messages if text in message), None)


@pytest.fixture(scope="module")
def systemd(home: EngineHome) -> Systemd:
    listener = Systemd(home.root / "notify")
    listener.start()
    return listener


@pytest.fixture(scope="module")
def serving(home: EngineHome, systemd: Systemd) -> Iterator[Launch]:
    environment = {"NOTIFY_SOCKET": str(home.root / "notify"), "WATCHDOG_USEC": "4000000"}
    one = Launch(home, home.config(), environment=environment)
    one.wait_ready()
    yield one
    one.end()


def rig(*arguments: str, config: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rigappliance", arguments[0], "-c", str(config), *arguments[1:]]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def note_refusal(fault: str, cause: str, done: subprocess.CompletedProcess[str], started_s: float) -> None:
    record(
        fault,
        cause=cause,
        evidence=done.stderr.splitlines()[0].removeprefix("rigappliance: "),
        decision=f"refused before the start (exit code {done.returncode})",
        seconds=time.monotonic() - started_s,
    )


def test_phases_come_in_order_and_their_times_add_up(serving: Launch) -> None:
    state = serving.wait_ready()
    assert [record["name"] for record in state["phases"]] == PHASES
    seconds = [record["ended"] - record["started"] for record in state["phases"][:-1]]
    assert all(each >= 0 for each in seconds)
    assert sum(seconds) == pytest.approx(state["ready"] - state["started"], abs=0.5)


def test_plain_lines_name_each_phase_once_and_what_the_estimate_rests_on(serving: Launch) -> None:
    # The state file says that it is ready a moment before the line does.
    wait_until(lambda: "proved by a completion" in serving.errors())
    lines = [line for line in serving.errors().splitlines() if line.startswith("rigappliance: [")]
    for phase in PHASES[:-1]:
        assert sum(f"] {phase}," in line for line in lines) >= 1, phase
    assert sum("earlier start" in line for line in lines) == 1
    assert any("3/3 shards" in line for line in lines)
    assert "proved by a completion" in lines[-1]


def test_the_plan_said_how_many_tokens_the_cache_would_hold(serving: Launch, home: EngineHome) -> None:
    done = rig("plan", "--json", config=home.config())
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["kv_tokens"] == serving.wait_ready()["kv_tokens"] > 0


def test_a_rigs_own_numbers_are_taken_from_the_engine_that_serves(serving: Launch, home: EngineHome) -> None:
    """What the processes hold, near what was measured of other starts of the same engine."""
    done = rig("calibrate", "--dry-run", "--json", config=home.config())
    found = json.loads(done.stdout)
    assert set(found) == {"host.imports", "host.api_server_own", "host.engine_core_own"}, done.stderr
    for name, size in found.items():
        assert size == pytest.approx(shipped().number(name), rel=0.25), name


def test_the_answer_is_the_one_that_the_weights_were_built_to_give(serving: Launch, home: EngineHome) -> None:
    done = rig("ask", "--json", "Who are you?", config=home.config())
    content = json.loads(done.stdout)
    assert (done.returncode, content["answer"]) == (0, ANSWER)
    assert content["completion_tokens"] == 25


def test_status_shows_the_processes_and_their_memory(serving: Launch, home: EngineHome) -> None:
    content = json.loads(rig("status", "--json", config=home.config()).stdout)
    assert content["ready"] is True
    assert content["kv_cache_tokens"] == 131072  # 256 MiB at 2 KiB a token: 4 layers × 2 × 2 heads × 64 × 2 B
    names = {process["name"]: process["pss_bytes"] for process in content["processes"]}
    assert {"API server", "EngineCore", "Worker"} <= names.keys()
    assert all(names[name] > 100 << 20 for name in ("API server", "EngineCore", "Worker"))


def test_wait_returns_at_once_for_each_goal(serving: Launch, home: EngineHome) -> None:
    for goal in ("live", "ready", "completion"):
        done = rig("wait", "--for", goal, "--json", "--timeout", "20s", config=home.config())
        assert (done.returncode, json.loads(done.stdout)["reached"]) == (0, goal)


def test_a_second_launch_of_the_state_directory_is_refused(serving: Launch, home: EngineHome) -> None:
    started_s = time.monotonic()
    done = rig("launch", config=home.config())
    assert done.returncode == 9
    assert f"pid {serving.process.pid}" in done.stderr
    note_refusal("two launches on one state directory", "none: the second one was refused", done, started_s)


def test_another_launch_on_the_port_is_told_who_has_it(serving: Launch, home: EngineHome) -> None:
    environment = {**os.environ, "RIGAPPLIANCE_STATE_DIR": str(home.root / "other")}
    command = [sys.executable, "-m", "rigappliance", "launch", "-c", str(home.config())]
    started_s = time.monotonic()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 4
    assert str(home.port) in done.stderr
    assert str(serving.own_state()["engine_pid"]) in done.stderr  # type: ignore[index]
    note_refusal("port taken by another engine", "port (preflight)", done, started_s)


def test_the_log_is_passed_on_byte_for_byte(serving: Launch, home: EngineHome) -> None:
    time.sleep(0.5)
    log = (home.state_dir / "engine.log").read_bytes()
    passed = (home.root / "launch.out").read_bytes()
    assert b"Application startup complete." in log
    shorter = min(len(log), len(passed))
    assert abs(len(log) - len(passed)) < 4096 and log[:shorter] == passed[:shorter]


def test_systemd_is_told_ready_only_after_the_completion(serving: Launch, systemd: Systemd, home: EngineHome) -> None:
    ready = systemd.first("READY=1")
    assert ready is not None
    log = (home.state_dir / "engine.log").read_text(errors="replace")
    assert '"POST /v1/completions HTTP/1.1" 200' in log
    assert ready >= serving.wait_ready()["ready"] - 0.01
    extended = systemd.first("EXTEND_TIMEOUT_USEC=")
    assert extended is not None and extended < ready
    assert any("STATUS=weights" in message for _, message in systemd.messages)


def test_systemd_watchdog_is_fed_in_time(serving: Launch, systemd: Systemd) -> None:
    time.sleep(5)
    fed = [at for at, message in systemd.messages if "WATCHDOG=1" in message]
    assert len(fed) > 3
    assert max(later - at for at, later in itertools.pairwise(fed)) < 4.0


def test_the_supervisor_is_small(serving: Launch) -> None:
    status = Path(f"/proc/{serving.process.pid}/status").read_text()
    rss_kib = int(status.split("VmRSS:")[1].split()[0])
    assert rss_kib * 1024 <= 60e6


def test_a_running_request_is_drained_on_sigterm(serving: Launch, systemd: Systemd, home: EngineHome) -> None:
    """Comes last: it stops the engine."""
    endpoint = Endpoint("127.0.0.1", home.port)
    tokens: list[Any] = []
    extra = {"ignore_eos": True}
    stream = stream_chat(endpoint, "tiny-qwen2", "Go on.", 900, 60.0, extra=extra)
    tokens.append(next(stream))
    serving.process.terminate()
    tokens.extend(stream)
    assert tokens[-1].completion_tokens == 900
    assert serving.process.wait(60) == 0
    assert serving.leftovers() == NOTHING
    state = serving.own_state()
    assert state and (state["outcome"], state["exit_code"]) == ("stopped", 0)
    assert systemd.first("STOPPING=1") is not None
    assert rig("status", config=home.config()).returncode == 11

"""Whole launches of a stand-in engine: how each way to start, serve, hang and die is told and cleaned up."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from rigappliance.errors import ExitCode
from rigappliance.launch.failures import read_failures
from rigappliance.launch.history import read_history
from rigappliance.launch.state import StartState, StateDirectory
from tests.unit.launch.processes import wait_until, with_argument
from tests.unit.launch.recordings import DIRECTORY, recorded

HERE = Path(__file__).parent
PHASES = ["process start", "config", "workers", "weights", "compile", "profiling", "KV cache", "HTTP", "ready"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        assert isinstance(port, int)
        return port


@dataclass
class Ended:
    code: str
    message: str
    remedy: str
    exit_code: int
    cause: str | None


class Launch:
    """One launch below ``root``; ``messages`` are those that systemd would get."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.messages: list[str] = []
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.manager.bind(str(root / "notify"))
        # The kernel queues few datagrams, and systemd takes them at once.
        self.listener = threading.Thread(target=self.listen, daemon=True)
        self.listener.start()
        self.token = f"token={random.SystemRandom().randrange(10**12)}"
        self.process: subprocess.Popen[bytes] | None = None
        self.watchdog_s = 0.0

    def start(
        self,
        recording: str = "first-start",
        program: list[str] | None = None,
        launch: dict[str, str] | None = None,
        port: int | None = None,
        **options: object,
    ) -> None:
        port = port or free_port()
        config = {
            "state_dir": str(self.root / "state"),
            "model": {"name": "tiny"},
            "engine": {"device": "cpu", "tensor_parallel": 1},
            "server": {"port": port},
            "launch": {
                "stall_timeout": "30s", "probe_interval": "60s", "probe_timeout": "5s", "drain_timeout": "2s",
                "stop_timeout": "5s", **(launch or {}),
            },
        }  # fmt: skip
        (self.root / "config.json").write_text(json.dumps(config))
        standin = [
            sys.executable, "-S", str(HERE / "standin.py"), str(port), str(DIRECTORY / f"{recording}.log"),
            str(self.root), self.token, *(f"{name}={value}" for name, value in options.items()),
        ]  # fmt: skip
        environ = {**os.environ, "NOTIFY_SOCKET": str(self.root / "notify")}
        if self.watchdog_s:
            environ["WATCHDOG_USEC"] = str(int(self.watchdog_s * 1e6))
        with (self.root / "out").open("wb") as out, (self.root / "err").open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.unit.launch.drive", str(self.root / "config.json"),
                 str(self.root / "outcome.json"), *(program or standin)],
                stdout=out, stderr=err, env=environ, cwd=HERE.parents[2],
            )  # fmt: skip

    @property
    def running(self) -> subprocess.Popen[bytes]:
        assert self.process is not None
        return self.process

    def listen(self) -> None:
        while (data := self.manager.recv(1 << 16)) != b"end of test":
            self.messages.append(data.decode())

    def stop_listening(self) -> None:
        if self.listener.is_alive():
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.sendto(b"end of test", str(self.root / "notify"))
            self.listener.join()

    def texts(self) -> list[str]:
        return list(self.messages)

    def has(self, begin: str) -> bool:
        return any(text.startswith(begin) for text in self.texts())

    def said(self) -> list[str]:
        path = self.root / "said"
        return path.read_text().splitlines() if path.exists() else []

    def wait(self, condition: Callable[[], object], timeout_s: float = 20.0) -> None:
        assert wait_until(condition, timeout_s), self.report()

    def wait_ready(self) -> None:
        self.wait(lambda: self.has("READY=1"))

    def wait_said(self, text: str) -> None:
        self.wait(lambda: any(line.startswith(text) for line in self.said()))

    def do(self, command: str) -> None:
        (self.root / "do.part").write_text(command)
        (self.root / "do.part").replace(self.root / "do")

    def end(self, timeout_s: float = 20.0) -> Ended:
        """How it ended, once it has; nothing of it may be left."""
        try:
            exit_code = self.running.wait(timeout_s)
        except subprocess.TimeoutExpired:
            pytest.fail(f"still running\n{self.report()}")
        self.stop_listening()
        assert [process.cmdline() for process in with_argument(self.token)] == []
        content = json.loads((self.root / "outcome.json").read_text())
        return Ended(content["code"], content["message"], content["remedy"], exit_code, content["cause"])

    def state(self) -> StartState:
        state = StateDirectory(self.root / "state").peek()
        assert state is not None
        return state

    def engine(self) -> psutil.Process:
        pid = self.state().engine_pid
        assert pid is not None
        return psutil.Process(pid)

    def error_output(self) -> str:
        return (self.root / "err").read_text()

    def report(self) -> str:
        return f"messages: {self.texts()}\nsaid: {self.said()}\n{self.error_output()}"


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    launch = Launch(tmp_path)
    yield launch
    launch.stop_listening()
    launch.manager.close()
    for process in with_argument(launch.token):
        process.kill()
    if launch.process is not None:
        launch.process.kill()
        launch.process.wait()


# --- to ready and back -----------------------------------------------------


def test_a_start_is_told_phase_by_phase_and_stops_on_request(launch: Launch) -> None:
    launch.watchdog_s = 0.4
    launch.start()
    launch.wait_ready()
    state = launch.state()
    assert [record.name for record in state.phases] == PHASES
    assert state.ready is not None
    assert (state.kv_tokens, state.ended, state.model) == (524_288, None, "tiny")
    assert psutil.Process(state.supervisor_pid).is_running()
    launch.wait(lambda: sum(text == "WATCHDOG=1" for text in launch.texts()) >= 4)

    launch.running.send_signal(signal.SIGTERM)
    ended = launch.end()
    assert (ended.code, ended.exit_code, ended.message) == ("OK", 0, "stopped on SIGTERM")
    assert launch.said()[-1] == "term", "the engine was asked before it was ended"

    texts = launch.texts()
    assert texts[0].startswith("STATUS=process start") or texts[0] == "EXTEND_TIMEOUT_USEC=90000000"
    assert "EXTEND_TIMEOUT_USEC=90000000" in texts
    kinds = [text for text in texts if text.startswith(("STATUS=", "READY=1", "STOPPING=1"))]
    shown = [text.removeprefix("STATUS=").split(",")[0] for text in kinds if text.startswith("STATUS=")]
    assert [label for i, label in enumerate(shown) if i == 0 or shown[i - 1] != label] == PHASES[:-1]
    assert "STATUS=weights, 3/3 shards, 1000 B of 1000 B, time left unknown" in kinds
    ready = next(i for i, text in enumerate(kinds) if text.startswith("READY=1"))
    assert "proved by a completion" in kinds[ready]
    assert kinds[-1] == "STOPPING=1\nSTATUS=stopped on SIGTERM"
    assert [text for text in kinds if text.startswith("READY=1")] == [kinds[ready]]

    final = launch.state()
    assert (final.outcome, final.exit_code, final.message) == ("stopped", 0, "stopped on SIGTERM")
    assert final.ended is not None and all(record.ended for record in final.phases)
    [entry] = read_history(StateDirectory(launch.root / "state"))
    assert list(entry.durations_s) == PHASES[:-1]


def test_the_log_is_passed_on_and_kept_byte_for_byte(launch: Launch) -> None:
    launch.start()
    launch.wait_ready()
    launch.running.send_signal(signal.SIGTERM)
    launch.end()
    marker = b"Application startup complete.\n"
    log = recorded("first-start")
    printed = log[: log.index(marker) + len(marker)]
    assert (launch.root / "state" / "engine.log").read_bytes() == printed
    assert (launch.root / "out").read_bytes() == printed


def test_ready_is_said_only_after_a_completion(launch: Launch) -> None:
    launch.start(answer="hold")
    launch.wait_said("asked")
    time.sleep(1.0)
    assert not launch.has("READY=1"), "the port and /health answer, but no completion has"
    assert launch.state().ready is None
    (launch.root / "answer").touch()
    launch.wait_ready()
    assert "answered" in launch.said()
    launch.running.send_signal(signal.SIGINT)
    assert launch.end().message == "stopped on SIGINT"


def test_an_engine_that_answers_without_a_token_is_never_ready(launch: Launch) -> None:
    launch.start(answer="empty")
    ended = launch.end()
    assert ended.code == "START_FAILED"
    assert ended.message.startswith(
        "the engine listens but is not usable: a one-token completion was answered with 200"
    )
    assert not launch.has("READY=1")


def test_an_engine_that_refuses_the_first_completion_is_never_ready(launch: Launch) -> None:
    launch.start(answer="refuse")
    ended = launch.end()
    assert ended.code == "START_FAILED"
    assert "EngineCore encountered an issue" in ended.message
    assert not launch.has("READY=1")


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
def test_stopped_before_it_was_ready(launch: Launch, signum: signal.Signals) -> None:
    launch.start(hang_at="Starting to load model")
    launch.wait_said("hangs")
    launch.wait(lambda: launch.state().phase == "weights")
    launch.running.send_signal(signum)
    ended = launch.end()
    assert (ended.code, ended.exit_code) == ("INTERRUPTED", 130)
    assert ended.message == f"stopped on {signum.name} during weights, before it was ready"
    assert not launch.has("READY=1")
    assert launch.has("STOPPING=1")
    assert read_history(StateDirectory(launch.root / "state")) == []


def test_an_engine_that_ignores_sigterm_is_ended_in_time(launch: Launch) -> None:
    launch.start(term="ignore", launch={"drain_timeout": "0s", "stop_timeout": "1s"})
    launch.wait_ready()
    begin_s = time.monotonic()
    launch.running.send_signal(signal.SIGTERM)
    ended = launch.end()
    elapsed_s = time.monotonic() - begin_s
    assert ended.code == "OK"
    assert elapsed_s > 1.0, "it got its stop_timeout"
    assert elapsed_s < 5


def test_a_start_that_does_not_hear_sigterm_is_ended_soon(launch: Launch) -> None:
    """The real API server loses it while its core starts."""
    launch.start(term="ignore", hang_at="Starting to load model", launch={"stop_timeout": "60s"})
    launch.wait_said("hangs")
    begin_s = time.monotonic()
    launch.running.send_signal(signal.SIGTERM)
    assert launch.end().code == "INTERRUPTED"
    assert time.monotonic() - begin_s < 6


def test_a_second_sigterm_does_not_wait(launch: Launch) -> None:
    launch.start(term="ignore", launch={"stop_timeout": "60s"})
    launch.wait_ready()
    launch.running.send_signal(signal.SIGTERM)
    launch.wait_said("term")
    launch.running.send_signal(signal.SIGTERM)
    assert launch.end(10).code == "OK"
    assert "SIGTERM again: ending the engine now" in launch.error_output()


# --- leaving and dying -----------------------------------------------------


def test_an_engine_that_leaves_during_weights_is_told_with_its_cause(launch: Launch) -> None:
    launch.start(recording="truncated-shard", exit_at="RuntimeError: Engine core initialization failed", status=1)
    ended = launch.end()
    assert (ended.code, ended.cause, ended.exit_code) == ("START_FAILED", "checkpoint-truncated", 62)
    assert ended.message.startswith(
        "the engine left with exit status 1 during weights: a shard of the checkpoint is shorter than its header says: "
    )
    assert "SafetensorError: Error while deserializing header: incomplete metadata" in ended.message
    assert "rigappliance fetch" in ended.remedy
    assert ended.remedy.endswith(f"the engine's log is {launch.root}/state/engine.log")
    state = launch.state()
    assert (state.outcome, state.exit_code, state.cause) == ("start-failed", 62, "checkpoint-truncated")
    stopping = next(text for text in launch.texts() if text.startswith("STOPPING=1"))
    assert "shorter than its header says" in stopping


def test_an_engine_that_leaves_with_status_0_before_it_is_ready_has_failed(launch: Launch) -> None:
    launch.start(exit_at="Loading weights took", status=0)
    ended = launch.end()
    assert (ended.code, ended.cause, ended.exit_code) == ("START_FAILED", "silent-exit", 85)
    assert ended.message.startswith("the engine left with exit status 0 during weights")


def test_an_engine_that_leaves_with_status_0_while_serving_has_died(launch: Launch) -> None:
    launch.start()
    launch.wait_ready()
    launch.do("exit 0")
    ended = launch.end()
    assert (ended.code, ended.cause, ended.exit_code) == ("DIED", "silent-exit", 85)
    assert ended.message.startswith("the engine left with exit status 0 while serving")
    assert launch.has("STOPPING=1")


def test_an_engine_that_is_killed_while_serving_has_died_by_name_of_the_signal(launch: Launch) -> None:
    launch.start()
    launch.wait_ready()
    launch.engine().kill()
    ended = launch.end()
    assert ended.message.startswith("the engine left by signal SIGKILL while serving: ")
    assert (ended.cause, ended.exit_code) == ("part-killed", 82)


@pytest.mark.parametrize("ready", [True, False])
def test_a_worker_that_is_killed_is_noticed_although_the_server_stays(launch: Launch, ready: bool) -> None:
    launch.start(hang_at="" if ready else "Starting to load model")
    launch.wait_said("worker")
    if ready:
        launch.wait_ready()
    else:
        launch.wait_said("hangs")
        time.sleep(2.5)
    [line] = [line for line in launch.said() if line.startswith("worker")]
    pid = int(line.split()[1])
    begin_s = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    ended = launch.end()
    assert time.monotonic() - begin_s < 5
    assert (ended.cause, ended.exit_code) == ("part-killed", 82)
    when = "while serving" if ready else "during weights"
    assert ended.code == ("DIED" if ready else "START_FAILED")
    assert ended.message.startswith(f"VLLM::Worker (pid {pid}) died {when}: ")


def test_the_end_of_a_helper_that_still_has_the_name_of_its_worker_is_no_death(launch: Launch) -> None:
    launch.start(hang_at="Starting to load model", helpers=2)
    launch.wait_said("hangs")
    launch.wait(lambda: sum(line.startswith("helper") for line in launch.said()) == 2)
    time.sleep(1.5)
    assert "is gone" not in launch.error_output()
    launch.running.send_signal(signal.SIGTERM)
    assert launch.end().code == "INTERRUPTED"


def test_an_engine_that_says_that_its_core_is_dead_has_died(launch: Launch) -> None:
    launch.start(launch={"probe_interval": "500ms"})
    launch.wait_ready()
    launch.do("dead")
    ended = launch.end(10)
    assert ended.code == "DIED"
    assert "/health answers 503" in ended.message


def test_a_program_that_is_not_there(launch: Launch) -> None:
    launch.start(program=[str(launch.root / "no-engine")])
    ended = launch.end()
    assert (ended.code, ended.exit_code) == ("ENGINE_MISSING", int(ExitCode.ENGINE_MISSING))
    assert ended.message == f"cannot start {launch.root}/no-engine: No such file or directory"


@pytest.mark.parametrize("ready", [True, False])
def test_nothing_is_left_when_the_guard_is_killed(launch: Launch, ready: bool) -> None:
    launch.start(hang_at="" if ready else "Starting to load model")
    if ready:
        launch.wait_ready()
    else:
        launch.wait_said("hangs")
    guard = launch.engine().parent()
    assert guard is not None and guard.ppid() == launch.running.pid
    guard.kill()
    ended = launch.end()
    assert (ended.code, ended.cause) == ("DIED", "part-killed")
    assert ended.message.startswith("the engine's guard process was killed: ")
    assert "SIGKILL" in ended.message


def test_nothing_is_left_when_the_supervisor_is_killed(launch: Launch) -> None:
    launch.start(term="ignore")
    launch.wait_ready()
    launch.running.kill()
    launch.wait(lambda: not with_argument(launch.token))


# --- slow and hung ---------------------------------------------------------


def test_a_start_that_hangs_is_given_up_and_its_phase_named(launch: Launch) -> None:
    launch.start(hang_at="Starting to load model", launch={"stall_timeout": "3s"})
    launch.wait_said("hangs")
    begin_s = time.monotonic()
    ended = launch.end()
    assert 2.5 < time.monotonic() - begin_s < 8
    assert (ended.code, ended.exit_code) == ("HUNG", int(ExitCode.HUNG))
    assert ended.message.startswith("the engine hung during weights: no log line, read byte, CPU time, page fault")
    assert "launch.stall_timeout" in ended.remedy
    assert ended.cause == "hung"
    [failure] = read_failures(StateDirectory(launch.root / "state"))
    said = [item["text"] for item in failure.diagnosis["evidence"]]
    assert any("VLLM::Worker" in text and "state S (sleeping)" in text for text in said), said
    assert any('standin.py", line' in text and "in after" in text for text in said), "what Python was doing"
    assert "signal" not in ended.message.lower(), "that we ended it so is no cause"


def test_a_stopped_worker_is_named_as_such(launch: Launch) -> None:
    launch.start(hang_at="Starting to load model", launch={"stall_timeout": "4s"})
    launch.wait_said("hangs")
    [line] = [line for line in launch.said() if line.startswith("worker")]
    os.kill(int(line.split()[1]), signal.SIGSTOP)
    ended = launch.end()
    assert ended.cause == "hung"
    [failure] = read_failures(StateDirectory(launch.root / "state"))
    said = [item["text"] for item in failure.diagnosis["evidence"]]
    assert any("VLLM::Worker" in text and "stopped by a signal" in text for text in said), said


def test_a_start_that_is_slow_but_moves_is_not_given_up(launch: Launch) -> None:
    launch.start(creep_at="Starting to load model", creep=6, launch={"stall_timeout": "3s"})
    launch.wait_said("worker")
    begin_s = time.monotonic()
    launch.wait_ready()
    assert time.monotonic() - begin_s > 5
    launch.running.send_signal(signal.SIGTERM)
    assert launch.end().code == "OK"


def test_an_engine_that_wedges_while_health_says_200_has_hung(launch: Launch) -> None:
    launch.start(launch={"probe_interval": "1s", "probe_timeout": "2s"})
    launch.wait_ready()
    launch.do("wedge")
    begin_s = time.monotonic()
    ended = launch.end()
    # An interval and a timeout, and the time of two samples of /metrics and of ending it.
    assert time.monotonic() - begin_s < 1 + 2 + 2.5
    assert ended.code == "HUNG"
    assert ended.message.startswith("the engine hung while serving: no answer to a one-token completion")
    assert "nothing else made progress for 2.0 s" in ended.message


def test_an_engine_that_works_on_other_requests_is_busy_and_not_hung(launch: Launch) -> None:
    launch.start(launch={"probe_interval": "500ms", "probe_timeout": "1s"})
    launch.wait_ready()
    launch.do("busy")
    time.sleep(4)
    assert launch.running.poll() is None, launch.report()
    launch.running.send_signal(signal.SIGTERM)
    assert launch.end().code == "OK"


def test_a_probe_that_waits_behind_a_busy_engine_is_no_sign_of_a_hang(launch: Launch) -> None:
    """Counters stood still at the interval, so a probe went out; work came in while it waited."""
    launch.start(launch={"probe_interval": "1s", "probe_timeout": "1s"})
    launch.wait_ready()
    asked = launch.said().count("asked")
    launch.do("wedge")
    launch.wait(lambda: launch.said().count("asked") > asked)
    launch.do("busy")
    time.sleep(3.5)
    assert launch.running.poll() is None, launch.report()
    launch.do("")
    launch.running.send_signal(signal.SIGTERM)
    assert launch.end().code == "OK"


def test_an_idle_engine_that_answers_its_probes_goes_on(launch: Launch) -> None:
    launch.start(launch={"probe_interval": "300ms", "probe_timeout": "1s"})
    launch.wait_ready()
    launch.wait(lambda: launch.said().count("answered") >= 4)
    launch.running.send_signal(signal.SIGTERM)
    assert launch.end().code == "OK"


def test_another_server_on_the_port_is_not_taken_for_the_engine(launch: Launch, tmp_path: Path) -> None:
    """It would answer every probe rightly; only its socket tells."""
    port = free_port()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    recording = str(DIRECTORY / "first-start.log")
    other = subprocess.Popen(
        [sys.executable, "-S", str(HERE / "standin.py"), str(port), recording, str(elsewhere), "delay=0"],
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        assert wait_until(lambda: psutil.Process(other.pid).net_connections(kind="tcp"), 10.0)
        launch.start(port=port, hang_at="Starting to load model")
        launch.wait_said("hang")
        time.sleep(3)
        assert not launch.has("READY=1")
        launch.running.terminate()
        assert launch.end().code == "INTERRUPTED"
    finally:
        # Its worker too.
        os.killpg(other.pid, signal.SIGKILL)
        other.wait()


def test_a_manager_that_does_not_read_holds_nothing_up(launch: Launch) -> None:
    launch.stop_listening()
    launch.watchdog_s = 0.1
    launch.start(delay=0.05)
    launch.wait(lambda: launch.root.joinpath("state", "state.json").exists())
    directory = StateDirectory(launch.root / "state")
    launch.wait(lambda: (state := directory.peek()) is not None and state.ready is not None, 30.0)
    launch.running.terminate()
    assert launch.running.wait(20) == 0


def test_a_proof_that_comes_after_the_stop_does_not_call_it_ready(launch: Launch) -> None:
    launch.start(answer="hold", term="ignore", launch={"probe_timeout": "30s"})
    launch.wait_said("asked")
    launch.running.terminate()
    launch.wait(lambda: launch.has("STOPPING=1"))
    (launch.root / "answer").touch()
    assert launch.end().code == "INTERRUPTED"
    assert not launch.has("READY=1")
    state = StateDirectory(launch.root / "state").peek()
    assert state is not None and state.ready is None

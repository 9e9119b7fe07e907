"""The stand-in's start, processes and end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rigappliance.endpoint import Endpoint
from rigappliance.launch import phases
from rigappliance.launch.phases import PhaseTracker
from rigappliance.launch.probes import tokens_processed
from rigappliance.launch.proctree import command_line, read_stat
from rigappliance.vmtest.standin import phases as standin_phases
from tests.standin import Standin, wait_until
from tests.unit.launch.recordings import split


def test_its_phases_are_those_that_the_supervisor_reads() -> None:
    assert [(text, name) for name, text in standin_phases.MARKERS] == [
        (marker.text, marker.phase.label) for marker in phases.MARKERS
    ]
    assert (*standin_phases.ORDER[:-1], "ready") == tuple(phases.LABELS.values())


def test_a_start_goes_through_the_real_phases_with_its_own_names(standin: Callable[..., Standin]) -> None:
    one = standin().ready()
    tracker = PhaseTracker()
    seen = []
    for line in split(one.log_file.read_bytes()):
        tracker.feed(line)
        seen.append(tracker.phase.label)
    assert list(dict.fromkeys(seen)) == [
        "process start", "config", "workers", "weights", "compile", "profiling", "KV cache", "HTTP",
    ]  # fmt: skip
    assert (tracker.listening, tracker.weights_loaded, tracker.kv_tokens) == (True, True, 524288)
    log = one.log()
    assert "/srv/checkpoint" not in log and one.arguments[3] in log
    assert f"http://127.0.0.1:{one.port}" in log and "8123" not in log
    assert str(one.cache) in log
    assert f"(APIServer pid={one.pid})" in log and f"(Worker pid={one.parts('Worker')[0]})" in log
    assert time.strftime("%m-%d %H:") in log


@pytest.mark.parametrize(
    ("options", "titles"),
    [
        ((), {"VLLM::EngineCore", "VLLM::Worker"}),
        (("--tensor-parallel-size", "2"), {"VLLM::EngineCore", "VLLM::Worker_TP0", "VLLM::Worker_TP1"}),
        (
            ("--tensor-parallel-size", "1", "--pipeline-parallel-size", "2"),
            {"VLLM::EngineCore", "VLLM::Worker_PP0", "VLLM::Worker_PP1"},
        ),
    ],
)
def test_its_processes_are_named_and_nested_as_the_real_ones(
    options: tuple[str, ...], titles: set[str], standin: Callable[..., Standin]
) -> None:
    one = standin(*options).ready()
    found = {command_line(pid): read_stat(pid) for pid in one.parts()}
    assert set(found) == titles
    core = found.pop("VLLM::EngineCore")
    assert core and core.ppid == one.pid
    for title, stat in found.items():
        assert stat and stat.ppid == core.pid
        assert stat.name == title[:15]
    log = one.log()
    assert all(f"({title.removeprefix('VLLM::')} pid={stat.pid})" in log for title, stat in found.items() if stat)


def test_nothing_listens_while_it_starts_but_the_port_is_taken(standin: Callable[..., Standin]) -> None:
    one = standin().start(faults=[{"do": "hang", "at": "weights"}])
    one.wait_log("Starting to load model")
    assert one.get("/health") == {"refused": "ConnectionRefusedError"}
    with socket.socket() as sock, pytest.raises(OSError, match="in use"):
        sock.bind(("127.0.0.1", one.port))


def test_a_taken_port_is_the_real_engines_failure(standin: Callable[..., Standin]) -> None:
    one = standin()
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", one.port))
        sock.listen()
        assert one.start().status() == 1
    assert "OSError: [Errno 98] Address already in use" in one.log()
    assert "Traceback" in one.log()


def test_an_address_of_another_machine_is_the_real_engines_failure(standin: Callable[..., Standin]) -> None:
    # Reserved for examples: no machine has it.
    one = standin("--host", "192.0.2.7").start()
    assert one.status() == 1
    assert "OSError: [Errno 99] Cannot assign requested address" in one.log()


def test_a_stop_leaves_nothing(standin: Callable[..., Standin]) -> None:
    one = standin().ready()
    memory, parts = one.memory(), one.parts()
    assert memory and any(one.temporary.iterdir())
    assert one.process
    one.process.terminate()
    assert one.status() == 0
    wait_until(lambda: not any(read_stat(pid) for pid in parts))
    wait_until(lambda: not any(Path("/dev/shm", name).exists() for name in memory))
    assert list(one.temporary.iterdir()) == []
    assert "[shutdown] API server: shutdown triggered" in one.log()


def test_a_stop_before_its_core_is_an_interrupt_and_lost_afterwards(standin: Callable[..., Standin]) -> None:
    one = standin().start(faults=[{"do": "wait", "at": "config"}])
    one.wait_log("non-default args")
    os.kill(one.pid, signal.SIGTERM)
    assert one.status() == 130
    assert "KeyboardInterrupt: terminated" in one.log()
    later = standin().start(pause_s=0.01)
    later.wait_log("Starting to load model")
    os.kill(later.pid, signal.SIGTERM)
    wait_until(later.listens)
    os.kill(later.pid, signal.SIGTERM)
    assert later.status() == 0


def test_a_stop_while_it_starts_leaves_nothing_where_it_is_obeyed(standin: Callable[..., Standin]) -> None:
    one = standin().start(faults=[{"do": "hang", "at": "weights"}], term=0)
    one.wait_log("Starting to load model")
    parts = one.parts()
    os.kill(one.pid, signal.SIGTERM)
    assert one.status() == 130
    wait_until(lambda: not any(read_stat(pid) for pid in parts))


def test_a_killed_api_server_leaves_its_processes_and_memory(standin: Callable[..., Standin]) -> None:
    one = standin().ready()
    memory, parts = one.memory(), one.parts()
    os.kill(one.pid, signal.SIGKILL)
    one.status()
    time.sleep(0.5)
    assert all(read_stat(pid) for pid in parts)
    assert all(Path("/dev/shm", name).exists() for name in memory)
    assert not one.listens()


@pytest.mark.parametrize("part", ["Worker", "EngineCore"])
def test_a_killed_part_ends_the_server_with_status_0(part: str, standin: Callable[..., Standin]) -> None:
    one = standin().ready()
    killed_s = time.monotonic()
    parts = one.parts()
    os.kill(one.parts(part)[0], signal.SIGKILL)
    wait_until(lambda: one.get("/health").get("status") == 503)
    assert one.status() == 0
    assert time.monotonic() - killed_s < 6
    log = one.log()
    assert "EngineDeadError" in log
    assert ("Worker proc VllmWorker-0 died unexpectedly (exit code: -9)" in log) == (part == "Worker")
    wait_until(lambda: not any(read_stat(pid) for pid in parts))


def test_workers_go_with_their_core_and_not_with_the_api_server(standin: Callable[..., Standin]) -> None:
    one = standin("--tensor-parallel-size", "2").ready()
    workers = one.parts("Worker")
    # So that it cannot end them itself.
    os.kill(one.pid, signal.SIGSTOP)
    os.kill(one.parts("EngineCore")[0], signal.SIGKILL)
    wait_until(lambda: not any(read_stat(pid) for pid in workers))


def test_a_completion_of_a_dead_core_is_answered_500_and_ends_the_server(standin: Callable[..., Standin]) -> None:
    one = standin().ready()
    os.kill(one.parts("EngineCore")[0], signal.SIGKILL)
    answer = one.complete()
    assert (answer["status"], answer["body"]["error"]["type"]) == (500, "InternalServerError")
    assert one.status(2) == 0


def test_a_stopped_worker_is_healthy_and_silent(standin: Callable[..., Standin]) -> None:
    one = standin("--tensor-parallel-size", "2").ready()
    os.kill(one.parts("Worker_TP1")[0], signal.SIGSTOP)
    before = tokens_processed(Endpoint("127.0.0.1", one.port))
    assert one.complete(timeout_s=1) == {"refused": "TimeoutError"}
    assert one.get("/health")["status"] == 200
    # What tells a hung engine from a busy one.
    assert tokens_processed(Endpoint("127.0.0.1", one.port)) == before == 0


def test_a_worker_killed_while_loading_fails_the_start(standin: Callable[..., Standin]) -> None:
    one = standin().start(faults=[{"do": "kill", "at": "weights"}])
    assert one.status() == 1
    assert "Engine core initialization failed" in one.log()
    assert "Application startup complete" not in one.log()


def test_a_worker_stopped_while_loading_holds_up_the_start(standin: Callable[..., Standin]) -> None:
    one = standin().start(faults=[{"do": "kill", "signal": "SIGSTOP", "at": "weights"}])
    one.wait_log("Starting to load model")
    time.sleep(0.5)
    length = len(one.log())
    time.sleep(0.5)
    assert len(one.log()) == length
    assert not one.listens() and not one.ended()


def test_it_drains_for_as_long_as_was_declared(standin: Callable[..., Standin]) -> None:
    one = standin("--shutdown-timeout", "10").ready(token_s=0.1)
    with socket.create_connection(("127.0.0.1", one.port)) as sock:
        body = b'{"prompt": "Hi", "max_tokens": 10, "ignore_eos": true}'
        sock.sendall(b"POST /v1/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        time.sleep(0.3)
        assert one.process
        one.process.terminate()
        assert b'"completion_tokens":10' in sock.recv(65536)
    assert one.status() == 0
    assert "mode=drain timeout=10s" in one.log()


def test_help_says_what_it_can_be_told() -> None:
    command = [sys.executable, "-m", "rigappliance.vmtest.standin", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "Keys of a start:" in shown and "RIGAPPLIANCE_STANDIN" in shown

"""What the stand-in does when it is told to fail."""

from __future__ import annotations

import inspect
import json
import os
import re
import resource
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rigappliance.vmtest.standin as package
from rigappliance.launch.proctree import TICKS_PER_S, read_stat
from rigappliance.vmtest.standin.faults import Faults
from tests.standin import PACKAGE, Standin, wait_until

MIB = 1 << 20
Make = Callable[..., Standin]


@pytest.mark.parametrize("at", ["process start", "config", "weights", "compile", "KV cache", "1/3 [", "serving"])
def test_it_leaves_with_a_status_at_a_phase_a_text_or_while_it_serves(at: str, standin: Make) -> None:
    one = standin().start(faults=[{"do": "exit", "status": 9, "at": at}])
    assert one.status() == 9
    assert ("Application startup complete." in one.log()) == (at == "serving")
    assert ("Starting to load model" in one.log()) == (at not in ("process start", "config"))
    assert ("2/3 [" in one.log()) == (at in ("compile", "KV cache", "serving"))


def test_it_dies_by_a_signal_of_its_own(standin: Make) -> None:
    one = standin().start(faults=[{"do": "kill", "who": "api", "signal": "SIGILL", "at": "weights"}])
    assert one.status() == -signal.SIGILL
    for pid in one.parts():
        os.kill(pid, signal.SIGKILL)


def test_a_fault_comes_later_and_another_one_with_it(standin: Make) -> None:
    faults = [
        {"do": "exit", "status": 9, "at": "weights", "after_s": 0.6},
        {"do": "say", "text": "something else", "who": "core", "at": "weights"},
    ]
    began = time.monotonic()
    one = standin().start(faults=faults, slow={"weights": 0}, pause_s=0.02)
    assert one.status() == 9
    assert time.monotonic() - began > 0.6
    assert "something else" in one.log()


def test_an_exception_is_told_as_the_real_engine_tells_one(standin: Make) -> None:
    text = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.00 GiB."
    one = standin().start(faults=[{"do": "fail", "text": text, "at": "KV cache"}])
    assert one.status() == 1
    assert re.search(r"\(Worker pid=\d+\) ERROR .*\] " + re.escape(text), one.log())
    assert "SafetensorError" not in one.log()
    assert "Engine core initialization failed" in one.log()


def test_a_recorded_failure_is_said_from_its_first_error_on(standin: Make) -> None:
    one = standin().start(faults=[{"do": "log", "recording": "too-few-numa-nodes", "at": "workers"}])
    assert one.status() == 1
    assert one.log().count("non-default args") == 1
    assert "AssertionError: Not enough allowed NUMA nodes" in one.log()


def test_lines_of_several_recorded_ranks_are_said_by_those_ranks(standin: Make) -> None:
    one = standin("--tensor-parallel-size", "2").ready(recording="tp2-nobind")
    first, second = one.parts("Worker_TP0")[0], one.parts("Worker_TP1")[0]
    log = one.log()
    assert log.count("Starting to load model") == 2
    assert f"(Worker_TP0 pid={first})" in log and f"(Worker_TP1 pid={second})" in log
    assert f"(Worker_TP0 pid={second})" not in log and f"(Worker_TP1 pid={first})" not in log


def test_a_whole_failed_start_is_replayed(standin: Make) -> None:
    one = standin().start(recording="too-few-numa-nodes")
    assert one.status() == 1
    assert "AssertionError: Not enough allowed NUMA nodes" in one.log()
    assert "Starting to load model" not in one.log()


def test_an_aborted_part_says_what_it_was_doing(standin: Make) -> None:
    one = standin("--tensor-parallel-size", "1", PYTHONFAULTHANDLER="1").start(faults=[{"do": "hang", "at": "weights"}])
    one.wait_log("Starting to load model")
    os.kill(one.parts("Worker")[0], signal.SIGABRT)
    one.wait_log('part.py", line')
    assert "Fatal Python error: Aborted" in one.log()


@pytest.mark.parametrize("busy", [False, True])
def test_a_hang_uses_cpu_time_only_where_it_is_told_to(busy: bool, standin: Make) -> None:
    one = standin().start(faults=[{"do": "hang", "at": "compile", "busy": busy}])
    one.wait_log("Warming up model for the compilation")
    time.sleep(0.2)
    before = read_stat(one.pid)
    time.sleep(1)
    after = read_stat(one.pid)
    assert before and after and not one.ended()
    assert ((after.cpu_ticks - before.cpu_ticks) / TICKS_PER_S > 0.08) == busy


def test_a_phase_is_as_slow_as_it_is_told(standin: Make) -> None:
    one = standin().start(pace=0.001, slow={"compile": 40})
    one.wait_log("Starting to load model")
    one.wait_log("Warming up model for the compilation")
    began = time.monotonic()
    one.wait_log("Warming up done.")
    # 23 s are recorded.
    assert 0.7 < time.monotonic() - began < 2.5


def test_a_line_of_10_mb_noise_and_no_newline(standin: Make) -> None:
    faults: list[dict[str, Any]] = [
        {"do": "line", "at": "weights"},
        {"do": "noise", "at": "weights", "bytes": 5000},
        {"do": "unended", "at": "weights", "for_s": 0.5, "every_s": 0.1},
    ]
    one = standin().ready(faults=faults)
    data = one.log_file.read_bytes()
    assert any(len(line) == 10_000_000 for line in data.split(b"\n"))
    assert any(line.strip(b".") == b"" and len(line) >= 4 for line in data.split(b"\n"))
    assert sum(byte >= 0xF5 for byte in data) > 50


def test_it_takes_memory_in_each_worker(standin: Make) -> None:
    plain = standin("--tensor-parallel-size", "2").ready()
    bare = [one.rss_bytes for one in map(read_stat, plain.parts("Worker")) if one]
    plain.end()
    one = standin("--tensor-parallel-size", "2").ready(take={"weights": 30 * MIB, "KV cache": 20 * MIB})
    taken = [stat.rss_bytes for stat in map(read_stat, one.parts("Worker")) if stat]
    assert len(taken) == 2
    assert all(49 * MIB < more - less < 60 * MIB for more, less in zip(taken, bare, strict=True))


def test_a_worker_grows_until_memory_ends(standin: Make) -> None:
    one = standin().start(
        faults=[{"do": "wait", "at": "workers", "for_s": 0.5}, {"do": "grow", "at": "weights", "every_s": 0.01}]
    )
    wait_until(lambda: one.parts("Worker"))
    resource.prlimit(one.parts("Worker")[0], resource.RLIMIT_AS, (300 * MIB, 300 * MIB))
    assert one.status() == 1
    assert "MemoryError" in one.log() or "Cannot allocate memory" in one.log()


def test_a_cache_that_cannot_be_written_fails_the_compile_phase(standin: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    one = standin(VLLM_CACHE_ROOT=str(tmp_path / "file/cache")).start()
    assert one.status() == 1
    assert "Not a directory" in one.log()


def test_a_full_shared_memory_is_the_real_engines_failure(standin: Make) -> None:
    # More than any machine has.
    one = standin().start(shm_bytes=1 << 50)
    assert one.status() == 1
    assert "Insufficient space in /dev/shm" in one.log()


def test_it_writes_a_cache(standin: Make) -> None:
    one = standin().ready(cache_bytes=2 * MIB)
    sizes = [path.stat().st_size for path in one.cache.rglob("model")]
    assert sizes == [2 * MIB]


def test_a_file_system_is_filled_but_for_what_is_left(standin: Make, tmp_path: Path) -> None:
    place = tmp_path / "full"
    place.mkdir()
    free = os.statvfs(place)
    leave = free.f_bavail * free.f_frsize - 3 * MIB
    fault = {"do": "fill", "where": str(place), "leave_bytes": leave, "at": "config"}
    standin().ready(faults=[fault])
    assert MIB < (place / "filled-by-standin").stat().st_size < 30 * MIB


def test_a_missing_compiler_is_the_real_engines_failure(standin: Make) -> None:
    one = standin(PATH="/nonexistent", CC="").start(compiler=True)
    assert one.status() == 1
    assert "Warming up model for the compilation" in one.log()
    assert "InvalidCxxCompiler: No working C++ compiler found" in one.log()


def test_a_compiler_without_the_headers_fails_with_its_words(standin: Make, tmp_path: Path) -> None:
    compiler = tmp_path / "cc"
    compiler.write_text("#!/bin/sh\necho 'fatal error: Python.h: No such file or directory' >&2\nexit 1\n")
    compiler.chmod(0o755)
    one = standin(CC=str(compiler)).start(compiler=True)
    assert one.status() == 1
    assert "fatal error: Python.h" in one.log()
    good = standin(CC="true").ready(compiler=True)
    assert good.get("/health")["status"] == 200


@pytest.mark.parametrize(
    ("name", "damage", "said"),
    [
        ("truncated", lambda d: cut(d / "model-00002-of-00003.safetensors"), "incomplete metadata"),
        ("header", lambda d: flip(d / "model-00002-of-00003.safetensors", 20), "SafetensorError"),
        ("length", lambda d: flip(d / "model-00002-of-00003.safetensors", 6), "SafetensorError"),
        ("missing", lambda d: (d / "model-00002-of-00003.safetensors").unlink(), "Weight files referenced in index"),
        ("architecture", lambda d: edit(d, architectures=["LlamaForFoo"]), "not supported"),
        ("no JSON", lambda d: (d / "config.json").write_text("{"), "not a valid JSON"),
        ("no config", lambda d: (d / "config.json").unlink(), "Invalid repository ID or local directory"),
    ],
)
def test_a_damaged_checkpoint_is_refused_as_the_real_engine_does(
    name: str, damage: Callable[[Path], object], said: str, standin: Make, checkpoint: Path, tmp_path: Path
) -> None:
    directory = tmp_path / "damaged"
    shutil.copytree(checkpoint, directory)
    damage(directory)
    one = standin(model=directory).start()
    assert one.status() == 1
    assert said in one.log()
    assert str(directory) in one.log()


def cut(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 1000)


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0xFF
    path.write_bytes(data)


def edit(directory: Path, **keys: Any) -> None:
    path = directory / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))


def test_without_a_tokenizer_it_starts_and_answers_400(standin: Make, checkpoint: Path, tmp_path: Path) -> None:
    directory = tmp_path / "damaged"
    shutil.copytree(checkpoint, directory)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (directory / name).unlink()
    one = standin(model=directory).ready()
    assert one.get("/health")["status"] == 200
    assert one.complete()["status"] == 400


def test_what_it_serves_changes_with_its_file(standin: Make) -> None:
    one = standin().ready()
    assert (one.get("/health")["status"], one.complete()["status"]) == (200, 200)
    one.tell(health=500, completions="refuse")
    wait_until(lambda: one.get("/health")["status"] == 500)
    assert one.complete()["status"] == 500
    one.tell(health="hang", completions="hang")
    wait_until(lambda: one.get("/health", 0.5) == {"refused": "TimeoutError"})
    assert one.complete(timeout_s=0.5) == {"refused": "TimeoutError"}
    one.tell(completions="empty")
    wait_until(lambda: one.get("/health", 0.5).get("status") == 200)
    wait_until(lambda: one.complete(timeout_s=1).get("body", {}).get("choices") == [])


def test_a_dead_core_behind_a_healthy_port(standin: Make) -> None:
    one = standin().ready(health="alive", stay=True)
    os.kill(one.parts("Worker")[0], signal.SIGKILL)
    one.wait_log("died unexpectedly")
    time.sleep(5.5)
    assert one.get("/health")["status"] == 200
    assert one.complete()["status"] == 500
    assert not one.ended()


def test_faults_told_while_it_serves_are_done_once(standin: Make) -> None:
    one = standin().ready()
    one.tell(faults=[{"do": "say", "text": "hello there"}])
    one.wait_log("hello there")
    time.sleep(0.5)
    assert one.log().count("hello there") == 1
    one.tell(faults=[{"do": "say", "text": "hello there", "id": 2}])
    wait_until(lambda: one.log().count("hello there") == 2)


def test_a_file_that_is_no_json_changes_nothing(standin: Make) -> None:
    one = standin().ready(health=500)
    one.file.write_text('{"health": 2')
    time.sleep(0.5)
    assert one.get("/health")["status"] == 500


def test_sigterm_is_ignored_or_takes_its_time(standin: Make) -> None:
    one = standin().ready(term="ignore")
    os.kill(one.pid, signal.SIGTERM)
    time.sleep(0.5)
    assert not one.ended()
    one.tell(term=1)
    began = time.monotonic()
    os.kill(one.pid, signal.SIGTERM)
    assert one.status() == 0
    assert 0.9 < time.monotonic() - began < 3


def test_a_fault_that_there_is_not_is_said(standin: Make) -> None:
    one = standin().start(faults=[{"do": "nonsense", "at": "config"}])
    assert one.status() == 64
    assert "no fault is called 'nonsense'" in one.log()


def test_every_key_and_every_fault_is_documented() -> None:
    text = package.__doc__ or ""
    faults = [name.removeprefix("do_") for name, _ in inspect.getmembers(Faults) if name.startswith("do_")]
    documented = re.findall(r"^  (\w+) {2,}", text, re.MULTILINE)
    assert set(faults) <= set(documented[documented.index("exit") :])
    sources = "".join(path.read_text() for path in PACKAGE.glob("*.py"))
    keys = set(re.findall(r"settings\.get\(\"(\w+)\"", sources))
    assert len(keys) > 10 and keys <= set(documented)

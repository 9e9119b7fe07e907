"""Processes as /proc shows them, with real ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rigappliance.launch import proctree
from rigappliance.launch.proctree import (
    TICKS_PER_S,
    command_line,
    descendants,
    read_bytes_from_disk,
    read_stat,
    send,
    wait_gone,
    with_environment,
)
from tests.unit.launch.processes import wait_until


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen(["sleep", "600"])
    yield child
    child.kill()
    child.wait()


def test_a_signal_reaches_the_process_that_was_meant(sleeper: subprocess.Popen[bytes]) -> None:
    stat = read_stat(sleeper.pid)
    assert stat is not None
    assert send(stat, signal.SIGTERM)
    assert sleeper.wait(5) == -signal.SIGTERM
    assert not send(stat, signal.SIGTERM), "nobody is there any more"


def test_a_later_process_with_the_same_pid_is_never_signalled(sleeper: subprocess.Popen[bytes]) -> None:
    stat = read_stat(sleeper.pid)
    assert stat is not None
    for ticks in (stat.start_ticks - 1, stat.start_ticks + 1, 0):
        assert not send(replace(stat, start_ticks=ticks), signal.SIGKILL)
    time.sleep(0.05)
    assert sleeper.poll() is None


@pytest.mark.parametrize("name", ["a) S 1 (b", "()", "with space", "\U0001f600x", "\xff" * 4])
def test_any_name_is_read_right(name: str) -> None:
    raw = name.encode("latin-1") if name.startswith("\xff") else name.encode()
    script = f"import ctypes, time; ctypes.CDLL(None).prctl(15, {raw!r}); print('up', flush=True); time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        child.stdout.readline()
        stat = read_stat(child.pid)
        assert stat is not None
        assert stat.name == raw.decode(errors="replace")
        assert stat.ppid == os.getpid()
        assert stat.state in "RS"
    finally:
        child.kill()
        child.communicate()


def test_the_numbers_of_a_process_that_works() -> None:
    script = "x = bytearray(50_000_000)\nprint('up', flush=True)\nwhile True: pass"
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        child.stdout.readline()
        first = read_stat(child.pid)
        time.sleep(0.5)
        second = read_stat(child.pid)
        assert first is not None and second is not None
        assert 0.05 * TICKS_PER_S < second.cpu_ticks - first.cpu_ticks < 0.8 * TICKS_PER_S
        assert first.rss_bytes > 50_000_000
        assert first.minor_faults > 50_000_000 // 4096 // 600
        boot_s = time.clock_gettime(time.CLOCK_BOOTTIME)
        assert 0 <= boot_s - first.start_ticks / TICKS_PER_S < 30
    finally:
        child.kill()
        child.communicate()


def test_a_process_that_is_gone_has_no_stat() -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    assert read_stat(child.pid) is None
    assert command_line(child.pid) == ""
    assert read_bytes_from_disk(child.pid) == 0


@pytest.mark.parametrize("text", ["", "1", "1 (x) S", "1 (x", "1 x) S 1 1", ") ("])
def test_a_stat_that_makes_no_sense_is_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "stat").write_text(text)
    monkeypatch.setattr(proctree, "PROC", tmp_path)
    assert read_stat(1) is None


def test_descendants_are_listed_parents_first_without_zombies() -> None:
    script = (
        "import subprocess, sys, time\n"
        "zombie = subprocess.Popen(['true'])\n"
        "inner = subprocess.Popen(['bash', '-c', 'sleep 600; true'])\n"
        "time.sleep(600)"
    )
    child = subprocess.Popen([sys.executable, "-c", script])
    try:
        assert wait_until(lambda: sorted(stat.name for stat in descendants(child.pid)) == ["bash", "sleep"])
        assert [stat.name for stat in descendants(child.pid)] == ["bash", "sleep"]
        below_me = descendants(os.getpid())
        pids = [stat.pid for stat in below_me]
        for stat in below_me:
            assert stat.ppid == os.getpid() or pids.index(stat.ppid) < pids.index(stat.pid)
    finally:
        for stat in [*descendants(child.pid)]:
            os.kill(stat.pid, signal.SIGKILL)
        child.kill()
        child.wait()


def test_processes_are_found_by_a_whole_environment_entry() -> None:
    value = uuid.uuid4().hex
    child = subprocess.Popen(["sleep", "600"], env={"RIGTEST": value})
    try:
        assert wait_until(lambda: [stat.pid for stat in with_environment(f"RIGTEST={value}")] == [child.pid])
        assert with_environment(f"RIGTEST={value[:-1]}") == []
        assert with_environment(f"IGTEST={value}") == []
        assert command_line(child.pid) == "sleep 600"
    finally:
        child.kill()
        child.wait()
    assert with_environment(f"RIGTEST={value}") == []


def test_waiting_ends_when_all_are_gone_and_names_who_is_not(sleeper: subprocess.Popen[bytes]) -> None:
    short = subprocess.Popen(["sleep", "0.2"])
    stats = [stat for stat in descendants(os.getpid()) if stat.pid in (short.pid, sleeper.pid)]
    assert len(stats) == 2
    begin_s = time.monotonic()
    # A zombie is gone, too: nobody has waited for the short one yet.
    assert [stat.pid for stat in wait_gone(stats, 0.6)] == [sleeper.pid]
    assert 0.5 < time.monotonic() - begin_s < 3
    sleeper.kill()
    begin_s = time.monotonic()
    assert wait_gone(stats, 30) == []
    assert time.monotonic() - begin_s < 5
    short.wait()


def test_a_later_process_with_the_same_pid_is_not_waited_for(sleeper: subprocess.Popen[bytes]) -> None:
    stat = read_stat(sleeper.pid)
    assert stat is not None
    begin_s = time.monotonic()
    assert wait_gone([replace(stat, start_ticks=stat.start_ticks + 1)], 10) == []
    assert time.monotonic() - begin_s < 1

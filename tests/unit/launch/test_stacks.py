"""What a hung engine's processes are doing, told in time."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rigappliance.launch import stacks
from rigappliance.launch.proctree import ProcessStat, read_stat
from tests.unit.launch.processes import wait_until

SLEEPER = "import time\ndef waits_for_a_card():\n    print('up', flush=True)\n    time.sleep(600)\nwaits_for_a_card()"


class Child:
    """A Python that sleeps; what it says goes into a file."""

    def __init__(self, log: Path, *, faulthandler: bool = True) -> None:
        self.log = log
        environment = {**os.environ, "PYTHONFAULTHANDLER": "1"} if faulthandler else dict(os.environ)
        with log.open("w") as file:
            self.popen = subprocess.Popen(
                [sys.executable, "-S", "-c", SLEEPER], env=environment, stdout=file, stderr=file
            )
        assert wait_until(lambda: "up" in log.read_text())
        self.taken = 0

    def stat(self) -> ProcessStat:
        stat = read_stat(self.popen.pid)
        assert stat is not None
        return stat

    def said(self) -> list[str]:
        text = self.log.read_text()
        new, self.taken = text[self.taken :], len(text)
        return new.splitlines()


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Child]:
    child = Child(tmp_path / "log")
    yield child
    child.popen.kill()
    child.popen.wait()


def test_a_sleeping_and_a_stopped_process_are_told_apart(child: Child) -> None:
    assert "(pid " in stacks.headline(child.stat())
    assert "state S (sleeping)" in stacks.headline(child.stat())
    child.popen.send_signal(signal.SIGSTOP)
    assert wait_until(lambda: child.stat().state == "T")
    assert "state T (stopped by a signal)" in stacks.headline(child.stat())


@pytest.mark.parametrize("stopped", [False, True])
def test_the_fault_handler_says_what_python_does(child: Child, stopped: bool) -> None:
    if stopped:
        child.popen.send_signal(signal.SIGSTOP)
        assert wait_until(lambda: child.stat().state == "T")
    stat = child.stat()
    found = asyncio.run(stacks.aborted([stat], child.said))
    assert "waits_for_a_card" in found[stat.pid]
    assert "Extension modules" not in found[stat.pid]
    assert child.popen.wait(5) == -signal.SIGABRT


def test_who_ignores_it_costs_no_more_than_its_share(tmp_path: Path) -> None:
    code = "import signal, time; signal.signal(signal.SIGABRT, signal.SIG_IGN); print('up', flush=True); time.sleep(99)"
    deaf = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(8)]
    try:
        for each in deaf:
            assert each.stdout is not None
            assert each.stdout.readline() == b"up\n"
        stats = [stat for each in deaf if (stat := read_stat(each.pid)) is not None]
        begin_s = time.monotonic()
        assert asyncio.run(stacks.aborted(stats, list)) == {}
        assert time.monotonic() - begin_s < stacks.ABORT_S + 1
    finally:
        for each in deaf:
            each.kill()
            each.communicate()


def py_spy(directory: Path, script: str) -> Path:
    program = directory / "bin" / "py-spy"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program


def test_py_spy_is_taken_from_beside_the_engine(tmp_path: Path, child: Child) -> None:
    program = py_spy(tmp_path, 'echo "Thread of $4: waits_for_a_card"')
    assert stacks.find_py_spy(tmp_path / "bin" / "python") == program
    found = asyncio.run(stacks.spy(program, [child.stat()]))
    assert found == {child.popen.pid: f"Thread of {child.popen.pid}: waits_for_a_card\n"}
    assert child.popen.poll() is None


@pytest.mark.parametrize("script", ["exit 1", "echo half; exit 1", "exec sleep 60"])
def test_a_py_spy_that_does_not_work_is_passed_over_in_time(
    tmp_path: Path, child: Child, script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stacks, "PY_SPY_S", 0.5)
    program = py_spy(tmp_path, script)
    begin_s = time.monotonic()
    assert asyncio.run(stacks.spy(program, [child.stat()])) == {}
    assert time.monotonic() - begin_s < 5
    assert asyncio.run(stacks.spy(None, [child.stat()])) == {}


def test_a_long_stack_is_cut_and_says_so() -> None:
    text = stacks.cut("\n".join(f"frame {number}" for number in range(100)))
    assert text.splitlines()[-1] == f"… {100 - stacks.STACK_LINES} more lines"
    assert stacks.cut("one\ntwo") == "one\ntwo"


def test_who_is_stopped_comes_first(child: Child, tmp_path: Path) -> None:
    sleeper = subprocess.Popen(["sleep", "99"])
    try:
        child.popen.send_signal(signal.SIGSTOP)
        assert wait_until(lambda: child.stat().state == "T")
        other = read_stat(sleeper.pid)
        assert other is not None
        texts = asyncio.run(stacks.gather([other, child.stat()], tmp_path / "bin" / "python", child.said))
        assert "state T" in texts[0]
        assert "state T" not in texts[1]
    finally:
        sleeper.kill()
        sleeper.wait()


def test_each_process_has_its_text_whether_it_speaks_or_not(child: Child, tmp_path: Path) -> None:
    deaf = subprocess.Popen(["sleep", "99"])
    try:
        stat = read_stat(deaf.pid)
        assert stat is not None
        tree = [child.stat(), stat]
        first, second = asyncio.run(stacks.gather(tree, tmp_path / "bin" / "python", child.said))
        assert first.splitlines()[0].startswith(tree[0].name)
        assert "waits_for_a_card" in first
        # Where in the kernel it is changes between two looks while it starts.
        assert second.partition(",")[0] == f"sleep (pid {deaf.pid})"
        assert second.splitlines() == [second] and f"state {stat.state}" in second
    finally:
        deaf.kill()
        deaf.wait()

"""Ends that nobody could tell: what files and journal still say of them."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from rigappliance.config import RigConfig
from rigappliance.launch import cgroup, journal, postmortem
from rigappliance.launch.boot import boot_id
from rigappliance.launch.failures import peek_failures
from rigappliance.launch.phases import Phase
from rigappliance.launch.state import PhaseRecord, StartState, StateDirectory
from tests.unit.launch.recordings import recorded

OOM = (
    "oom-kill:constraint=CONSTRAINT_MEMCG,oom_memcg=/system.slice/rigappliance.service,task=rigappliance,pid=332,uid=0"
)


class Rig:
    def __init__(self, root: Path) -> None:
        self.config = RigConfig.model_validate({"profile": "demo", "state_dir": str(root)})
        self.directory = StateDirectory(root)
        self.state = StartState(
            "f00d", 2**22 + 1, 1, time.time() - 60, "http://x", "tiny", "0.32.0", phase="weights",
            phases=[PhaseRecord("weights", time.time() - 60)], boot_id=boot_id(), started_s=time.monotonic() - 60,
        )  # fmt: skip

    def record(self, **environ: str) -> str | None:
        return postmortem.record_killed(self.config, self.directory, self.state, environ)

    @property
    def cause(self) -> str:
        return peek_failures(self.directory)[-1].cause


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    monkeypatch.setattr(journal, "readable", lambda: False)
    return Rig(tmp_path)


def test_the_kernels_word_says_why_the_supervisor_was_killed(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "kernel_lines", lambda *_: (OOM,))
    monkeypatch.setattr(cgroup, "own_group", lambda *_: None)
    message = rig.record(SERVICE_RESULT="signal", EXIT_CODE="killed", EXIT_STATUS="KILL")
    assert message is not None
    assert "during weights" in message
    assert rig.cause == "memory-limit-loading"
    [failure] = peek_failures(rig.directory)
    assert not failure.told
    assert any(OOM in item["text"] for item in failure.diagnosis["evidence"])


def test_counters_of_another_group_say_nothing(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later launch has a group of its own, in which nothing has been killed yet."""
    monkeypatch.setattr(journal, "kernel_lines", lambda *_: (OOM,))
    rig.state.counters = {"kills": 0}
    rig.record()
    assert rig.cause == "memory-limit-loading"


def test_without_any_word_it_was_killed_by_somebody(rig: Rig) -> None:
    rig.directory.log_file.write_bytes(recorded("first-start")[:4000])
    rig.record(SERVICE_RESULT="signal", EXIT_CODE="killed", EXIT_STATUS="KILL")
    assert rig.cause == "supervisor-killed"
    assert (rig.state.outcome, rig.state.ended is not None) == ("killed", True)


def test_it_is_told_once(rig: Rig) -> None:
    assert rig.record() is not None
    assert rig.record() is None
    assert rig.record(SERVICE_RESULT="signal") is None
    assert len(peek_failures(rig.directory)) == 1


def test_a_stop_is_not_told_at_all(rig: Rig) -> None:
    rig.state.ended, rig.state.outcome = time.time(), "stopped"
    assert rig.record(SERVICE_RESULT="success") is None
    assert peek_failures(rig.directory) == []


def test_another_boot_without_an_end_is_a_power_cut(rig: Rig) -> None:
    rig.state.boot_id = "another"
    rig.record()
    assert rig.cause == "power-cut"
    assert rig.state.outcome == "power-cut"


def test_an_end_is_never_before_its_beginning_whatever_the_clock(rig: Rig) -> None:
    """The machine came up with a clock that is a day behind."""
    rig.state.started = time.time() + 86400
    rig.state.boot_id = "another"
    rig.record()
    assert rig.state.ended is not None
    assert rig.state.ended >= rig.state.started
    [failure] = peek_failures(rig.directory)
    assert failure.ended >= failure.started


def test_of_a_large_log_only_the_end_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postmortem, "LOG_BYTES", 20)
    (tmp_path / "log").write_bytes(b"early\n" * 100 + b"bar 1\rbar 2\nlast \xff\n")
    assert list(postmortem.log_lines(tmp_path / "log"))[-4:] == ["bar 1", "bar 2", "last \ufffd", ""]
    assert len(list(postmortem.log_lines(tmp_path / "log"))) < 7
    assert list(postmortem.log_lines(tmp_path / "none")) == []


def test_phases_are_found_by_their_labels() -> None:
    assert [postmortem.phase_of(phase.label) for phase in Phase] == list(Phase)
    assert postmortem.phase_of("another version's") is Phase.PROCESS


# --- the journal -----------------------------------------------------------


@pytest.fixture
def journalctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A journalctl that writes down what it was asked."""
    monkeypatch.setattr(journal, "readable", lambda: True)
    program = tmp_path / "journalctl"
    program.write_text('#!/bin/sh\necho "$@" > "$(dirname "$0")/asked"\necho "one line"\necho two\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path / "asked"


def test_the_journal_is_asked_about_that_boot_and_time(journalctl: Path) -> None:
    assert journal.kernel_lines("aa-bb", 1000.0, 2000.0) == ("one line", "two")
    asked = journalctl.read_text().split()
    assert {"--boot=aabb", "--since=@998", "--until=@2000", "--output=cat", "_TRANSPORT=kernel"} <= set(asked)
    journal.unit_lines("rigappliance.service", "", 1000.0)
    asked = journalctl.read_text().split()
    assert "UNIT=rigappliance.service" in asked
    assert not [word for word in asked if word.startswith(("--boot", "--until"))]


def test_a_journal_that_cannot_be_read_is_not_waited_for(journalctl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> object:
        raise subprocess.TimeoutExpired("journalctl", 1)

    monkeypatch.setattr(subprocess, "run", never)
    assert journal.kernel_lines("a", 1.0) == ()


@pytest.mark.parametrize("mode", [0o644, 0o000])
def test_whether_it_is_worth_asking(tmp_path: Path, mode: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not journal.readable(tmp_path)
    file = tmp_path / "var/log/journal/0123/system.journal"
    file.parent.mkdir(parents=True)
    file.touch()
    monkeypatch.setattr(os, "access", lambda path, _: bool(Path(path).stat().st_mode & mode))
    assert journal.readable(tmp_path) is bool(mode)

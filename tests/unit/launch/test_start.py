"""Signals that come before the supervisor has taken them over."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from rigappliance.configfile import load_config
from rigappliance.diagnosis.cause import Fact
from rigappliance.errors import ExitCode, InterruptedStartError
from rigappliance.launch import standing, start
from rigappliance.launch.state import StateDirectory
from rigappliance.launch.view import PlainView


def send_itself(signum: int) -> Callable[..., list[object]]:
    """A stage of the launch during which the signal comes."""

    def stage(*_: object, **__: object) -> list[object]:
        os.kill(os.getpid(), signum)
        return []

    return stage


def interrupted(tmp_path: Path) -> StateDirectory:
    config = load_config(profile="demo", environ={"RIGAPPLIANCE_STATE_DIR": str(tmp_path / "state")})
    view = PlainView(quiet=True)
    handlers = [signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(InterruptedStartError, match="before the engine was started") as raised:
        start.launch(config, view, force=True)
    view.close()
    assert raised.value.exit_code is ExitCode.INTERRUPTED
    assert [signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT)] == handlers
    return StateDirectory(tmp_path / "state")


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_during_the_checks(signum: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "run_checks", send_itself(signum))
    directory = interrupted(tmp_path)
    assert directory.peek() is None
    directory.acquire()
    directory.release()


def test_while_it_looks_how_things_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever else goes wrong there is passed over, and a stop must not be."""
    monkeypatch.setattr(start, "check", lambda *_: None)
    monkeypatch.setitem(standing.READERS, Fact.TOOLCHAIN, send_itself(signal.SIGTERM))
    assert interrupted(tmp_path).peek() is None


def test_after_the_state_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or `status` would tell of a start that never ended."""
    monkeypatch.setattr(start, "check", lambda *_: None)

    def run(work: object) -> None:
        close = getattr(work, "close")  # noqa: B009 a coroutine that is never awaited
        close()
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(asyncio, "run", run)
    state = interrupted(tmp_path).peek()
    assert state is not None
    assert (state.outcome, state.exit_code) == ("interrupted", 130)

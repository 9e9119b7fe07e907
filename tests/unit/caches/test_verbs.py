"""`rigappliance warm` and `rigappliance cache`, beside the engine."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rigappliance.caches.identity import read_identity
from rigappliance.caches.keep import prepare, seal
from rigappliance.cli import cache, warm
from rigappliance.config import RigConfig
from rigappliance.configfile import load_config
from rigappliance.errors import BusyError, PreflightError, RigError
from rigappliance.launch import start
from rigappliance.launch.outcome import Outcome
from rigappliance.launch.state import StateDirectory
from tests.unit.caches.filled import CONTENT, KERNEL, fill, found

# click keeps a command's help option as it was first asked for.
LIKE_THE_GROUP: dict[str, Any] = {"help_option_names": ["-h", "--help"]}


@pytest.fixture
def rig(tmp_path: Path) -> Path:
    (tmp_path / "rig.toml").write_text(f'profile = "demo"\nstate_dir = "{tmp_path / "state"}"\n')
    return tmp_path


def loaded(rig: Path) -> RigConfig:
    return load_config(rig / "rig.toml", environ={})


def verb(rig: Path, *words: str) -> Result:
    result = CliRunner().invoke(
        cache.command, [*words, "-c", str(rig / "rig.toml")], catch_exceptions=True, **LIKE_THE_GROUP
    )
    if isinstance(result.exception, RigError):
        raise result.exception
    return result


def kept(rig: Path, **durations_s: float) -> None:
    fill(rig / "state")
    seal(rig / "state", read_identity(loaded(rig)), durations_s)


def test_nothing_is_kept_at_first(rig: Path) -> None:
    assert "nothing is kept" in verb(rig, "list").output
    with pytest.raises(PreflightError, match="nothing is kept"):
        verb(rig, "verify")


def test_what_is_kept_is_listed_with_the_times_it_saved(rig: Path) -> None:
    kept(rig, compile=50.0)
    kept(rig, compile=10.0)
    tree = json.loads(verb(rig, "list", "--json").output)
    assert (tree["files"], tree["size_bytes"]) == (len(CONTENT), sum(map(len, CONTENT.values())))
    assert tree["parts_bytes"]["triton"] == len(CONTENT[KERNEL])
    (setup,) = tree["setups"]
    assert (setup["files"], setup["key"]) == (len(CONTENT), tree["key"])
    text = verb(rig, "list").output
    assert "the first start so: 50 s; the last: 10 s" in text
    assert f"* {setup['setup']}  vLLM" in text


def test_verify_names_the_damaged_file_and_changes_nothing(rig: Path) -> None:
    kept(rig)
    assert f"{len(CONTENT)} files" in verb(rig, "verify").output
    (rig / "state/cache" / KERNEL).write_bytes(b"?" * len(CONTENT[KERNEL]))
    with pytest.raises(PreflightError, match=f"{KERNEL} has another content"):
        verb(rig, "verify")
    assert KERNEL in found(rig / "state")


def test_out_and_in_again(rig: Path) -> None:
    kept(rig)
    assert "packed" in verb(rig, "export", str(rig / "out.tar.gz")).output
    assert verb(rig, "clear").output == "the caches are empty\n"
    assert found(rig / "state") == {}
    assert "taken: 4 files of 4 files" in verb(rig, "import", str(rig / "out.tar.gz")).output
    again = verb(rig, "import", str(rig / "out.tar.gz")).output
    assert again == "all of it is here already\n"
    (rig / "rig.toml").write_text((rig / "rig.toml").read_text() + "[engine]\nmax_num_seqs = 3\n")
    assert "note: max_num_seqs was 8 there and is 3 here" in verb(rig, "import", str(rig / "out.tar.gz")).output
    prepare(rig / "state", read_identity(loaded(rig)))
    assert found(rig / "state") == CONTENT


@pytest.mark.parametrize("words", [("clear",), ("import", "caches.tar.gz")])
def test_not_while_a_launch_works_in_them(words: tuple[str, ...], rig: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(rig)
    monkeypatch.setattr("rigappliance.exclusive.PATIENCE_S", 0.0)
    monkeypatch.setattr("rigappliance.launch.state.taken", lambda fd: False)
    directory = StateDirectory(rig / "state")
    with pytest.raises(BusyError, match="in use by another launch"):
        verb(rig, *words)
    directory.release()
    assert found(rig / "state") == CONTENT


class Recorded:
    """A view that remembers."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *words: self.calls.append((name, words))


def test_a_warm_start_stops_itself_when_it_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, signum: stopped.append(signum) if pid == os.getpid() else None)
    shown = Recorded()
    view = warm.StopsWhenReady(shown)
    view.line("starting")
    assert stopped == []
    view.ready(None, "ready after 5 s")  # type: ignore[arg-type]
    assert stopped == [signal.SIGTERM]
    assert shown.calls == [("line", ("starting",)), ("ready", (None, "ready after 5 s"))]


def run_warm(rig: Path, monkeypatch: pytest.MonkeyPatch, outcome: Outcome, **durations_s: float) -> Result:
    def launch(config: RigConfig, view: object, *, force: bool) -> Outcome:
        if durations_s:
            kept(rig, **durations_s)
        return outcome

    monkeypatch.setattr(start, "launch", launch)
    return CliRunner().invoke(
        warm.command, ["--plain", "-c", str(rig / "rig.toml")], standalone_mode=False, **LIKE_THE_GROUP
    )


def test_warm_tells_where_the_time_went_and_what_is_kept(rig: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run_warm(rig, monkeypatch, Outcome(0, "stopped"), weights=5.0, compile=40.0)
    assert first.return_value == 0
    assert "compile  40 s\n" in first.output
    assert "is known after one" in first.output
    second = run_warm(rig, monkeypatch, Outcome(0, "stopped"), weights=5.0, compile=4.0)
    assert "compile  4.0 s, and 40 s the first time" in second.output
    assert "saved by the caches: 36 s" in second.output
    assert "kept: 4 files" in second.output


def test_warm_that_failed_has_the_failures_code_and_claims_nothing(rig: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = run_warm(rig, monkeypatch, Outcome(5, "the engine left"))
    assert failed.return_value == 5
    assert "kept" not in failed.output

"""``rigappliance why --log`` through the real command line."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from rigappliance.cli import run
from rigappliance.errors import ExitCode
from tests.unit.diagnosis.cases import RECORDINGS


def why(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = run(["why", *words])
    out, err = capsys.readouterr()
    return code, out, err


def test_a_page(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = why(capsys, "--log", str(RECORDINGS / "truncated-shard.log"), "--exit-status", "1")
    assert (code, err) == (ExitCode.OK, "")
    assert "272 lines, last phase weights" in out
    assert "(checkpoint-truncated, certain)" in out


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = why(capsys, "--log", str(RECORDINGS / "port-taken.log"), "--json")
    content = json.loads(out)
    assert (content["cause"], content["decision"], content["exit_code"]) == ("port-taken", "stop", 70)
    assert content["evidence"] == [
        {"source": "engine log", "line": 41, "text": "OSError: [Errno 98] Address already in use"}
    ]
    assert (content["failed"], content["phase"], content["lines"]) == (True, "config", 41)


@pytest.mark.parametrize("words", [(), ("--exit-status", "0")])
def test_a_clean_log_has_no_failure(capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    code, out, _ = why(capsys, "--log", str(RECORDINGS / "first-start.log"), *words)
    assert code == ExitCode.OK
    assert "no failure: nothing in it says that anything failed, and the engine was told to stop" in out
    _, out, _ = why(capsys, "--log", str(RECORDINGS / "first-start.log"), *words, "--json")
    assert json.loads(out) == {"cause": None, "failed": False, "phase": "HTTP", "lines": 129}


def test_standard_input_and_a_signal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    class Standard:
        buffer = io.BytesIO(b"INFO:     Application startup complete.\n")

    monkeypatch.setattr(sys, "stdin", Standard())
    code, out, _ = why(capsys, "--log", "-", "--signal", "sigill")
    assert code == ExitCode.OK
    assert out.startswith("standard input: 1 lines, last phase serving")
    assert "(illegal-instruction, certain)" in out


@pytest.mark.parametrize("name", ["KILL", "SIGKILL", "kill", "9"])
def test_a_signal_by_any_of_its_names(capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str) -> None:
    log = tmp_path / "log"
    log.write_text("INFO:     Application startup complete.\n")
    _, out, _ = why(capsys, "--log", str(log), "--signal", name, "--json")
    assert json.loads(out)["cause"] == "part-killed"


@pytest.mark.parametrize(
    ("words", "fragment"),
    [
        (("--log", "absent.log"), "cannot read 'absent.log': no such file or directory"),
        (("--log", "."), "cannot read '.': is a directory"),
        (("--log", "log", "--signal", "NONE"), "no such signal 'NONE'"),
        (("--log", "log", "--signal", "999"), "no such signal '999'"),
        (("--log", "log", "--signal", "9", "--exit-status", "1"), "both --exit-status and --signal"),
        (("--exit-status", "1"), "--exit-status and --signal without --log"),
        (("--log", "log", "--exit-status", "256"), "256"),
    ],
)
def test_what_an_operator_can_get_wrong(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    fragment: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log").write_text("")
    code, out, err = why(capsys, *words)
    assert (code, out) == (ExitCode.USAGE, "")
    assert fragment in err
    assert "to do:" in err

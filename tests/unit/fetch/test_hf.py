"""How the program is found, what it gets to see, and that it is gone when it has to be."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rigappliance.errors import EngineMissingError, ExitCode, InterruptedStartError, RequestFailedError
from rigappliance.fetch import hf, lookup
from rigappliance.fetch.hf import Hf, environment_for, find_program, token_file
from rigappliance.fetch.job import Job
from rigappliance.fetch.lookup import ask
from rigappliance.fetch.stop import Stop
from rigappliance.launch.notify import Notifier
from tests.unit.fetch.conftest import wait_until
from tests.unit.place import ROOT


def script(directory: Path, text: str) -> Path:
    """A shell script in the place of hf."""
    program = directory / "bin/hf"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    return program


def program(path: Path, said: list[str] | None = None, stop: Stop | None = None) -> Hf:
    return Hf(path, dict(os.environ), stop or Stop(), (said if said is not None else []).append)


def test_both_outputs_and_the_code_come_back(tmp_path: Path) -> None:
    path = script(tmp_path, 'echo "$1"; echo words >&2; head -c 300000 /dev/zero | tr "\\0" x >&2; exit 3')
    done = program(path).run(["--", "x"])
    assert (done.returncode, done.stdout) == (3, "--\n")
    assert done.stderr == "words\n" + "x" * 300_000


def test_what_it_tries_again_is_said_while_it_works(tmp_path: Path) -> None:
    said: list[str] = []
    path = script(
        tmp_path, 'echo "Error while downloading from http://h/a/b.bin: \033[1mlate" >&2; echo Other >&2; sleep 5'
    )
    ticks = 0

    def on_tick() -> None:
        nonlocal ticks
        ticks += 1
        if said:
            raise RequestFailedError("seen", "", "")

    began_s = time.monotonic()
    with pytest.raises(RequestFailedError, match="seen"):
        program(path, said).run([], on_tick)
    assert time.monotonic() - began_s < 4
    assert said == ["hf: Error while downloading from b.bin: ?[1mlate"]


def test_a_stop_ends_even_a_stubborn_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hf, "STOP_S", 0.3)
    path = script(tmp_path, f"trap '' TERM INT; echo $$ > {tmp_path}/pid; for i in $(seq 200); do sleep 0.05; done")
    stop = Stop()
    began_s = time.monotonic()

    def on_tick() -> None:
        if (tmp_path / "pid").exists():
            stop.request(signal.SIGTERM)

    with pytest.raises(InterruptedStartError, match="stopped on SIGTERM"):
        program(path, stop=stop).run([], on_tick)
    assert time.monotonic() - began_s < 5
    pid = int((tmp_path / "pid").read_text())
    assert not Path(f"/proc/{pid}").exists()
    # And nothing new is started after it.
    (tmp_path / "pid").unlink()
    with pytest.raises(InterruptedStartError):
        program(path, stop=stop).run([])
    assert not (tmp_path / "pid").exists()


def test_it_does_not_outlive_a_killed_caller(tmp_path: Path) -> None:
    path = script(tmp_path, f"echo $$ > {tmp_path}/pid; exec sleep 60")
    code = (
        "from pathlib import Path; from rigappliance.fetch.hf import Hf; from rigappliance.fetch.stop import Stop; "
        f"Hf(Path({str(path)!r}), {{'PATH': '/usr/bin:/bin'}}, Stop(), print).run([])"
    )
    caller = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().endswith("\n"))
    pid = int((tmp_path / "pid").read_text())
    assert Path(f"/proc/{pid}/exe").exists()
    caller.kill()
    caller.wait()
    # Its new parent may not have buried it yet.
    wait_until(lambda: not Path(f"/proc/{pid}").exists() or not os.path.lexists(f"/proc/{pid}/exe"))


def test_a_hub_that_never_answers_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "LIMIT_S", 0.2)
    python = script(tmp_path, "exec sleep 60").parent / "python"
    job = Job("rig/tiny", "main", tmp_path, python, os.environ, print, Notifier({}), Stop())
    with pytest.raises(RequestFailedError, match="did not answer within") as caught:
        ask(job, "info")
    assert caught.value.exit_code == ExitCode.REQUEST_FAILED


def test_what_cannot_be_executed_is_a_missing_engine(tmp_path: Path) -> None:
    path = script(tmp_path, "")
    path.write_text("#!/nowhere/python\n")
    with pytest.raises(EngineMissingError, match=r"cannot start .*bin/hf: No such file"):
        program(path).run([])


def test_it_lies_beside_the_interpreter(tmp_path: Path) -> None:
    path = script(tmp_path, "")
    assert find_program(tmp_path / "bin/python") == path
    path.chmod(0o644)
    with pytest.raises(EngineMissingError, match="bin/hf is not there"):
        find_program(tmp_path / "bin/python")


def test_what_the_environment_becomes(tmp_path: Path) -> None:
    given = {
        "HOME": "/h",
        "HTTPS_PROXY": "http://proxy",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_DEBUG": "1",
        "PYTHONPATH": "/x",
        "NOTIFY_SOCKET": "/n",
        "RIGAPPLIANCE_API_KEY": "secret",
        "HF_HUB_DISABLE_XET": "0",
    }
    made = environment_for(given)
    assert made.keys() & given.keys() == {"HOME", "HTTPS_PROXY", "HF_HUB_DISABLE_XET"}
    assert made["HF_HUB_DISABLE_XET"] == "0"
    assert environment_for({})["HF_HUB_DISABLE_XET"] == "1"
    assert made["HF_HUB_DISABLE_TELEMETRY"] == made["HF_HUB_DISABLE_UPDATE_CHECK"] == "1"
    # A credential of the unit is used unless the environment has a token of its own.
    (tmp_path / "hf-token").write_text("hf_x")
    credential = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert environment_for(credential)["HF_TOKEN_PATH"] == str(tmp_path / "hf-token")
    assert "HF_TOKEN_PATH" not in environment_for({**credential, "HF_TOKEN": "hf_y"})
    assert "HF_TOKEN_PATH" not in environment_for({"CREDENTIALS_DIRECTORY": str(tmp_path / "none")})


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({"HOME": "/h"}, "/h/.cache/huggingface/token"),
        ({"HOME": "/h", "XDG_CACHE_HOME": "/c"}, "/c/huggingface/token"),
        ({"HOME": "/h", "HF_HOME": "/f"}, "/f/token"),
        ({"HOME": "/h", "HF_HOME": "/f", "HF_TOKEN_PATH": "/t"}, "/t"),
    ],
)
def test_where_a_token_is_looked_for(environ: dict[str, str], path: str) -> None:
    assert token_file(environ) == Path(path)

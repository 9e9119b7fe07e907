"""The two verbs, as they are called."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Sequence

import pytest

from rigappliance.cli import run
from rigappliance.errors import ExitCode
from rigappliance.install import host as host_module
from rigappliance.install.host import Done
from rigappliance.install.manifest import MANIFEST
from rigappliance.render.systemd import ENGINE, SWAP
from tests.unit.install.machine import CHECKPOINT, CONFIG, SOUND, STATE, UNITS, Machine


@pytest.fixture
def machine(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """The one that the verbs find themselves on."""
    monkeypatch.setattr(host_module, "this_host", lambda: machine.host)
    return machine


def test_install_shows_what_it_does_and_how_to_watch(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["install", "-c", str(CONFIG)]) == ExitCode.OK
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert f"new     {UNITS / ENGINE}" in lines
    assert "set     vm.swappiness 60 → 10" in lines
    assert "run     systemctl daemon-reload" in lines
    assert lines[-4:] == [
        "installed",
        f"what is missing still  rigappliance check -c {CONFIG}",
        f"how far the start is   rigappliance status -c {CONFIG}",
        "what it says           journalctl -fu rigappliance",
    ]
    assert err == f"rigappliance: note: no checkpoint in {CHECKPOINT}: bring it there, or install with --fetch\n"
    assert str(MANIFEST) not in out


@pytest.mark.parametrize("option", ["", "--no-start"])
def test_no_start(option: str, machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["install", "-c", str(CONFIG), *option.split()]) == ExitCode.OK
    assert any("systemctl start" in command for command in machine.ran) is not bool(option)
    assert ("how far the start is" in capsys.readouterr().out) is not bool(option)


def test_installed_already(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    run(["install", "-c", str(CONFIG)])
    capsys.readouterr()
    for options in ([], ["--dry-run"]):
        assert run(["install", "-c", str(CONFIG), *options]) == ExitCode.OK
        lines = capsys.readouterr().out.splitlines()
        assert f"same    {UNITS / ENGINE}" in lines
        assert {line.split()[0] for line in lines[:-1]} == {"same"}
        assert lines[-1] == "nothing to do"


def test_a_dry_run_shows_differences(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    run(["install", "-c", str(CONFIG)])
    machine.declare(SOUND + 'max = "80%"\n')
    before = machine.listing()
    capsys.readouterr()
    assert run(["install", "--dry-run", "--no-start"]) == ExitCode.OK
    out = capsys.readouterr().out
    assert f"change  {UNITS / ENGINE}\n        --- {UNITS / ENGINE} (now)\n        +++ {UNITS / ENGINE} (then)\n" in out
    assert "\n        -MemoryMax=90%\n        +MemoryMax=80%\n" in out
    assert out.endswith("\ndry run: nothing was changed\n")
    assert machine.listing() == before


@pytest.mark.parametrize("dry", [True, False])
def test_install_for_programs(dry: bool, machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["install", "-c", str(CONFIG), "--json", *(["--dry-run"] if dry else [])]) == ExitCode.OK
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert err == ""
    assert (report["dry_run"], report["config_file"], report["systemd"]) == (dry, str(CONFIG), 257)
    assert {"kind": "new", "subject": str(UNITS / SWAP)} in report["steps"]
    assert len(report["notes"]) == 1
    assert machine.at(MANIFEST).exists() is not dry


def test_a_failure_says_how_to_go_on_and_how_to_go_back(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.failing["systemctl enable"] = Done(1, "Failed to enable unit: Access denied\n")
    assert run(["install", "-c", str(CONFIG)]) == ExitCode.PREFLIGHT
    err = capsys.readouterr().err.splitlines()
    assert "failed with exit status 1: Failed to enable unit: Access denied" in err[-3]
    assert "install again" in err[-1]
    assert "`rigappliance uninstall`" in err[-1]


def test_ctrl_c_says_the_same(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    before = machine.listing()
    real = machine.run

    def interrupted(argv: Sequence[str]) -> Done:
        if argv[:2] == ("systemctl", "enable"):
            os.kill(os.getpid(), signal.SIGINT)
        return real(argv)

    object.__setattr__(machine.host, "run", interrupted)
    assert run(["install", "-c", str(CONFIG)]) == ExitCode.INTERRUPTED
    assert "`rigappliance uninstall`" in capsys.readouterr().err
    object.__setattr__(machine.host, "run", real)
    assert run(["uninstall"]) == ExitCode.OK
    assert machine.listing() == before


def test_uninstall_names_what_stays(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.install()
    machine.fill_state()
    assert run(["uninstall"]) == ExitCode.OK
    out, err = capsys.readouterr()
    assert f"remove  {UNITS / ENGINE}" in out.splitlines()
    assert out.endswith("\nuninstalled\n")
    assert err == f"rigappliance: note: {CHECKPOINT}/ stays: the checkpoint; --delete-checkpoint removes it too\n"
    assert run(["uninstall"]) == ExitCode.NOT_RUNNING


@pytest.mark.parametrize("dry", [True, False])
def test_uninstall_for_programs(dry: bool, machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.install()
    options = ["--dry-run"] if dry else []
    assert run(["uninstall", "--json", "--delete-checkpoint", *options]) == ExitCode.OK
    report = json.loads(capsys.readouterr().out)
    assert (report["dry_run"], report["notes"]) == (dry, [])
    assert {"kind": "remove", "subject": f"{STATE}/ with all that is in it"} in report["steps"]
    assert machine.at(MANIFEST).exists() is dry


def test_a_dry_run_of_uninstall(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.install()
    before = machine.listing()
    assert run(["uninstall", "--dry-run", "--keep-state"]) == ExitCode.OK
    out, err = capsys.readouterr()
    assert out.endswith("\ndry run: nothing was changed\n")
    assert f"{STATE}/ stays, as asked" in err
    assert machine.listing() == before

"""`check --fix`: said first, run only when told to, and checked again."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from rigappliance import preflight
from rigappliance.cli import run
from rigappliance.errors import ExitCode, PreflightError
from rigappliance.facts.kernel import KernelFacts
from rigappliance.facts.system import SystemFacts
from rigappliance.preflight.finding import Finding
from rigappliance.preflight.fix import Fix, apply, check_may_fix, fixes_of
from tests.unit.preflight.rig import host

ONE = ("sysctl", "-w", "vm.swappiness=10")


def finding(*commands: tuple[str, ...], severity: str = "warn", check: str = "memory.swappiness") -> Finding:
    return Finding(check, severity, "a", "b", "c", commands)  # type: ignore[arg-type]


def test_each_command_once_in_the_order_of_the_findings() -> None:
    findings = [finding(ONE), finding(("b",), ONE, check="x.y"), finding(("c",), severity="ok")]
    fixes = fixes_of(findings, ("/bin/rigappliance",), ())
    assert fixes == (Fix("memory.swappiness", ONE), Fix("x.y", ("b",)))


def test_a_verb_of_ours_is_run_with_this_program_and_this_configuration() -> None:
    fixes = fixes_of([finding(("rigappliance", "swap", "on"))], ("/opt/bin/rigappliance",), ("--config", "/r.toml"))
    assert fixes == (
        Fix("memory.swappiness", ("/opt/bin/rigappliance", "swap", "on", "--config", "/r.toml"), ours=True),
    )


def test_a_verb_of_ours_tells_its_progress_where_everybody_sees_it(capfd: pytest.CaptureFixture[str]) -> None:
    outcome = apply(Fix("a.b", ("sh", "-c", "echo 40 percent >&2; echo made"), ours=True))
    assert outcome.said == "made"
    assert capfd.readouterr().err == "40 percent\n"


def test_only_root_may_mend() -> None:
    check_may_fix(0)
    with pytest.raises(PreflightError, match="runs as user 1000"):
        check_may_fix(1000)


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (("sh", "-c", "echo done"), 0, "done"),
        (("sh", "-c", "echo out; echo why >&2; exit 3"), 3, "why"),
        (("/no/such/program",), None, "/no/such/program: No such file or directory"),
    ],
)
def test_what_came_of_it(argv: tuple[str, ...], code: int | None, said: str) -> None:
    outcome = apply(Fix("a.b", argv))
    assert (outcome.code, outcome.said) == (code, said)


# --- the verb --------------------------------------------------------------


@pytest.fixture
def parameter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for vm.swappiness, which is 60: a file that a stand-in for sysctl writes, and the checks read."""
    file = tmp_path / "swappiness"
    file.write_text("60")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "sysctl").write_text(f'#!/bin/sh\n[ "$1" = -w ] && echo "${{2#*=}}" > {file}\n')
    (programs / "sysctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    for name in [name for name in os.environ if name.startswith("RIGAPPLIANCE_")]:
        monkeypatch.delenv(name)

    def system(*_: object, **__: object) -> SystemFacts:
        return SystemFacts(kernel=KernelFacts(swappiness=int(file.read_text()), page_cluster=4))

    monkeypatch.setattr(preflight, "read_system_facts", system)
    monkeypatch.setattr(preflight, "probe_toolchain", lambda *_: None)
    monkeypatch.setattr(preflight, "read_host_facts", lambda *_: host())
    return file


def check(*options: str) -> int:
    return run(["check", "--profile", "rig", "--only", "memory", *options])


def test_without_yes_it_is_only_said(parameter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check("--fix") == ExitCode.OK
    out = capsys.readouterr().out
    assert "  sysctl -w vm.swappiness=10    # memory.swappiness\n" in out
    assert "could be mended" in out
    assert parameter.read_text() == "60"


def test_with_yes_it_is_said_and_done_and_the_table_is_of_afterwards(
    parameter: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert check("--fix", "--yes") == ExitCode.OK
    out, err = capsys.readouterr()
    assert parameter.read_text().strip() == "10"
    assert "memory.swappiness: sysctl -w vm.swappiness=10" in err
    assert "vm.swappiness is 10" in out
    assert "vm.swappiness is 60" not in out


def test_what_fails_is_said_and_stays_in_the_table(
    parameter: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    (parameter.parent / "bin/sysctl").write_text("#!/bin/sh\necho read-only >&2; exit 7\n")
    check("--fix", "--yes")
    out, err = capsys.readouterr()
    assert "it left with 7: read-only" in err
    assert "vm.swappiness is 60" in out


def test_an_ordinary_user_changes_nothing(
    parameter: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert check("--fix", "--yes") == ExitCode.PREFLIGHT
    assert "run it with sudo" in capsys.readouterr().err
    assert parameter.read_text() == "60"


def test_programs_read_what_was_done(
    parameter: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    check("--fix", "--json")
    offered = json.loads(capsys.readouterr().out)["fixes"]
    assert offered == [{"check": "memory.swappiness", "argv": list(ONE)}]
    check("--fix", "--yes", "--json")
    done = json.loads(capsys.readouterr().out)["fixes"]
    assert [(fix["argv"], fix["exit_code"]) for fix in done] == [(list(ONE), 0)]


def test_nothing_to_mend_is_said(parameter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parameter.write_text("10")
    check("--fix")
    assert "nothing here can be mended" in capsys.readouterr().out


@pytest.mark.parametrize(
    "options", [["--yes"], ["--config-only", "--fix"], ["--config-only", "--hashes"], ["--config-only", "--disk-speed"]]
)
def test_options_that_would_be_passed_over_are_refused(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", "--profile", "demo", *options]) == ExitCode.USAGE
    assert "expected:" in capsys.readouterr().err

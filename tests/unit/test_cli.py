"""The command line as a whole: how fast it starts, what it imports, what it prints for people and for programs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rigappliance import ENGINE_VERSION, __version__
from rigappliance.cli import VERBS, group, run
from rigappliance.config import RigConfig
from rigappliance.errors import ExitCode
from tests.unit.place import ROOT, Place

PROGRAM = ("-m", "rigappliance")
# As the installed command starts, whatever its name on the disk.
ENTRY = "import sys; sys.argv[0] = '/usr/bin/rigappliance'; from rigappliance.__main__ import main; main()"


def python(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter that knows nothing but this package."""
    clean = {name: value for name, value in os.environ.items() if "RIGAPPLIANCE_" not in name}
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**clean, "PYTHONPATH": str(ROOT), **environ},
    )


# --- what is imported ------------------------------------------------------

HEAVY = ("pydantic", "psutil", "rich", "httpx", "asyncio", "torch", "vllm")


def modules_after(*arguments: str) -> set[str]:
    """Names of all modules that a run of the program has imported."""
    code = (
        "import contextlib, io, sys\n"
        f"sys.argv = ['rigappliance', *{list(arguments)}]\n"
        "from rigappliance.__main__ import main\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        "    main()\n"
        "print(*sorted(sys.modules))\n"
    )
    done = python("-c", code)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_the_version_costs_no_import() -> None:
    modules = modules_after("--version")
    assert "rigappliance.__main__" in modules
    assert modules.isdisjoint({*HEAVY, "click", "rigappliance.cli"})


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_imports_nothing_heavy_and_no_other_verb(verb: str) -> None:
    modules = modules_after(*verb.split(), "--help")
    assert "rigappliance.cli" in modules
    assert modules.isdisjoint(HEAVY)
    verbs = {name.removeprefix("rigappliance.cli.") for name in modules if name.startswith("rigappliance.cli.")}
    assert verbs & VERBS.keys() == set(verb.split())


def test_waiting_for_a_named_endpoint_needs_no_configuration() -> None:
    """It is what scripts call in a loop."""
    modules = modules_after("wait", "--url", "http://127.0.0.1:1", "--timeout", "1ms", "--quiet")
    assert "rigappliance.endpoint" in modules
    assert modules.isdisjoint({"pydantic", "psutil", "rich", "asyncio", "rigappliance.config"})


def test_the_supervisor_needs_no_table_printer_and_no_schema() -> None:
    """It stays in memory for as long as the engine does."""
    modules = set(python("-c", "import sys, rigappliance.launch.start; print(*sys.modules)").stdout.split())
    assert "rigappliance.launch.supervisor" in modules
    assert modules.isdisjoint({"rich", "click", "http.server", "rigappliance.demo.checkpoint", "torch", "vllm"})


IMPORT_ALL = """
import importlib, pkgutil, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "vllm", "numpy"):
            raise AssertionError(f"{name} is imported")

sys.meta_path.insert(0, Refuse())
import rigappliance
# These run inside the engine's processes.
inside = ("rigappliance.loader.", "rigappliance.enginestart.")
names = [m.name for m in pkgutil.walk_packages(rigappliance.__path__, "rigappliance.") if not m.name.startswith(inside)]
for name in names:
    importlib.import_module(name)
print(*names)
"""


def test_the_control_plane_never_imports_the_engine() -> None:
    done = python("-c", IMPORT_ALL)
    assert done.returncode == 0, done.stderr
    files = {
        str(path.relative_to(ROOT).with_suffix("")).replace("/", ".").removesuffix(".__init__")
        for path in (ROOT / "rigappliance").rglob("*.py")
        if path.relative_to(ROOT).parts[1] not in ("loader", "enginestart")
    } - {"rigappliance"}
    assert set(done.stdout.split()) == files | {"rigappliance.loader", "rigappliance.enginestart"}


# --- what people read ------------------------------------------------------


def test_help_lists_every_verb_and_each_is_a_module() -> None:
    done = python(*PROGRAM, "--help")
    assert done.returncode == 0
    listed = re.findall(r"^  (\w+)  +(\S.*)$", done.stdout.partition("\nVerbs:\n")[2], re.M)
    assert dict(listed) == VERBS
    modules = {path.stem for path in (ROOT / "rigappliance/cli").glob("*.py")}
    assert modules - {"__init__", "options", "usage"} == VERBS.keys()


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_every_verb_shows_examples_of_itself(verb: str, flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([verb, flag]) == ExitCode.OK
    out, err = capsys.readouterr()
    assert err == ""
    examples = out.partition("\n  Examples:\n")[2].partition("\n\n")[0].splitlines()
    assert examples
    assert [line for line in examples if f"rigappliance {verb}" not in line] == []
    assert max(map(len, out.splitlines())) <= 100


@pytest.mark.parametrize("verb", VERBS)
def test_every_example_is_a_command_line_that_parses(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    import shlex

    import click

    run([verb, "--help"])
    examples = capsys.readouterr().out.partition("\n  Examples:\n")[2].partition("\n\n")[0].splitlines()
    for line in examples:
        words = shlex.split(re.split(r" \| | 2?> ", line)[0])
        command = group.get_command(click.Context(group), words[1])
        assert command is not None
        command.make_context(words[1], words[2:])


def test_every_option_has_a_help_text() -> None:
    import click

    for verb in VERBS:
        command = group.get_command(click.Context(group), verb)
        assert command is not None
        silent = [p.name for p in command.params if isinstance(p, click.Option) and not p.help]
        assert (verb, silent) == (verb, [])


def test_the_version_is_the_same_by_both_ways(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == ExitCode.OK
    slow = capsys.readouterr().out
    assert slow == f"rigappliance {__version__} (vLLM {ENGINE_VERSION})\n"
    assert python(*PROGRAM, "--version").stdout == slow
    assert python("-c", ENTRY.replace("; from", "; sys.argv[1:] = ['--version']; from")).stdout == slow


def test_without_a_verb_the_help_is_shown_and_the_command_line_is_wrong() -> None:
    done = python(*PROGRAM)
    assert (done.returncode, done.stdout) == (ExitCode.USAGE, "")
    assert done.stderr == python(*PROGRAM, "--help").stdout


@pytest.mark.parametrize("arguments", [("--help",), ("wait", "--help"), ("schema",), ("render",), ("check", "--json")])
def test_a_reader_that_has_left_is_no_failure(arguments: tuple[str, ...], tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, *PROGRAM, *arguments],
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            timeout=60,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    finally:
        os.close(writing)
    assert done.returncode == ExitCode.OK
    assert [line for line in done.stderr.splitlines() if not line.startswith("rigappliance: note: ")] == []


# --- shells ----------------------------------------------------------------


def complete(shell: str, *words: str) -> list[str]:
    """What a shell offers for the last of ``words``, as its script would ask for it."""
    done = python(
        "-c",
        ENTRY,
        _RIGAPPLIANCE_COMPLETE=f"{shell}_complete",
        COMP_WORDS=" ".join(words),
        COMP_CWORD=words[-1] if shell == "fish" else str(len(words) - 1),
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("shell", "registers"),
    [
        ("bash", "complete -o nosort -F _rigappliance_completion rigappliance"),
        ("zsh", "#compdef rigappliance"),
        ("fish", "complete --no-files --command rigappliance"),
    ],
)
def test_a_completion_script_for_each_shell(shell: str, registers: str) -> None:
    done = python("-c", ENTRY, _RIGAPPLIANCE_COMPLETE=f"{shell}_source")
    assert (done.returncode, done.stderr) == (0, "")
    assert registers in done.stdout
    assert f"_RIGAPPLIANCE_COMPLETE={shell}_complete" in done.stdout
    interpreter = shutil.which(shell)
    if interpreter:
        subprocess.run([interpreter, "-n"], input=done.stdout, text=True, check=True, timeout=20)


def test_shells_complete_verbs_options_and_values() -> None:
    assert complete("bash", "rigappliance", "lau") == ["plain,launch"]
    assert complete("bash", "rigappliance", "wait", "--ti") == ["plain,--timeout"]
    assert complete("bash", "rigappliance", "render", "--format", "sys") == ["plain,systemd"]
    assert complete("zsh", "rigappliance", "lau")[:2] == ["plain", "launch"]
    assert "launch" in complete("fish", "rigappliance", "lau")[0]


def test_completion_after_a_verb_that_is_none_complains_of_nothing() -> None:
    assert "".join(complete("bash", "rigappliance", "lunch", "x")) == ""
    assert "plain,--help" in complete("bash", "rigappliance", "lunch", "--")


# --- what programs read ----------------------------------------------------


@pytest.mark.parametrize("profile", ["rig", "demo"])
def test_render_for_programs_shells_and_systemd(
    profile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    outputs = {}
    for form in ("json", "shell", "systemd"):
        assert run(["render", "--profile", profile, "--format", form]) == ExitCode.OK
        outputs[form] = capsys.readouterr().out
    tree = json.loads(outputs["json"])
    model = {"rig": "Qwen/Qwen2.5-72B-Instruct-GPTQ-Int8", "demo": "tiny-qwen2"}[profile]
    assert tree["argv"][tree["argv"].index("--served-model-name") + 1] == model
    assert tree["environment"]["HF_HUB_OFFLINE"] == "1"
    assert outputs["shell"].startswith("#!/bin/sh\n")
    assert f"exec {tree['argv'][0]} \\\n" in outputs["shell"] or f"exec {tree['argv'][0]} " in outputs["shell"]
    assert "\nType=notify\n" in outputs["systemd"]
    assert re.search(r"^ExecStart=.* launch .*", outputs["systemd"], re.M)


def test_the_schema_describes_every_section(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schema"]) == ExitCode.OK
    schema = json.loads(capsys.readouterr().out)
    assert schema["type"] == "object"
    assert schema["additionalProperties"] is False
    assert schema["properties"].keys() == RigConfig.model_fields.keys()
    for name, definition in schema["$defs"].items():
        assert (name, definition["type"], definition["additionalProperties"]) == (name, "object", False)
        assert [key for key, value in definition["properties"].items() if "description" not in value] == []
    references = set(re.findall(r'"#/\$defs/(\w+)"', json.dumps(schema)))
    assert references == schema["$defs"].keys()


def test_the_example_can_be_checked_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schema", "--example"]) == ExitCode.OK
    example = tmp_path / "rig.toml"
    example.write_text(capsys.readouterr().out)
    assert run(["render", "-c", str(example), "--format", "json"]) == ExitCode.OK
    of_example = json.loads(capsys.readouterr().out)
    assert run(["render", "--format", "json"]) == ExitCode.OK
    assert json.loads(capsys.readouterr().out) == of_example


def test_check_for_programs_on_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code = run(["check", "--profile", "demo", "--json"])
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert (code, err) == (ExitCode.ENGINE_MISSING, "")
    assert report.keys() == {"verdict", "findings", "facts"}
    assert report["verdict"] == "fail"
    assert report["facts"].keys() == {"host", "gpu", "model"}
    assert report["facts"]["model"]["path"] == str(tmp_path / ".rigappliance/checkpoint")
    assert all(finding.keys() == {"check", "severity", "found", "expected", "remedy"} for finding in report["findings"])
    assert {finding["severity"] for finding in report["findings"]} <= {"ok", "warn", "fail"}
    assert {"engine.python", "checkpoint.files"} <= {finding["check"] for finding in report["findings"]}
    assert list(tmp_path.iterdir()) == []


def test_wait_tells_programs_why_on_standard_output(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    code = run(["wait", "-c", str(place.config), "--timeout", "0s", "--json"])
    out, err = capsys.readouterr()
    assert (code, err) == (ExitCode.TIMED_OUT, "")
    answer = json.loads(out)
    assert (answer["reached"], answer["exit_code"]) == (None, 8)
    assert answer["error"].startswith(f"http://127.0.0.1:{place.port} was not completion within 0s: nothing listens")


def test_wait_can_be_silent(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["wait", "-c", str(place.config), "--timeout", "0s", "-q"]) == ExitCode.TIMED_OUT
    assert capsys.readouterr() == ("", "")


def test_a_key_of_the_environment_replaces_one_of_the_file(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RIGAPPLIANCE_CONFIG", str(place.config))
    monkeypatch.setenv("RIGAPPLIANCE_ENGINE__MAX_MODEL_LEN", "77")
    assert run(["render", "--format", "json"]) == ExitCode.OK
    argv = json.loads(capsys.readouterr().out)["argv"]
    assert argv[argv.index("--max-model-len") + 1] == "77"
    assert argv[argv.index("--served-model-name") + 1] == "tiny"

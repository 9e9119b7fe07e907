from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rigappliance.config import RigConfig
from rigappliance.errors import ExitCode
from rigappliance.render.output import as_json, as_shell
from rigappliance.render.vllm import EngineCommand, render
from tests.configs import configurations

ECHO = "import json, os, sys; print(json.dumps([sys.argv, dict(os.environ)]))"


def replayed(command: EngineCommand) -> tuple[list[str], dict[str, str]]:
    """What a program receives that the script executes in the engine's place."""
    stand_in = (sys.executable, "-c", ECHO, *command.argv)
    script = as_shell(EngineCommand(stand_in, command.environment, command.notices, command.secrets))
    done = subprocess.run(["sh"], input=script, capture_output=True, text=True, check=True)
    argv, environment = json.loads(done.stdout)
    return argv[1:], environment


def test_json_holds_all_parts() -> None:
    tree = json.loads(as_json(render(RigConfig.model_validate({"server": {"api_key_file": "/k"}}))))
    assert tree.keys() == {"argv", "environment", "notices", "secrets"}
    assert tree["argv"][2] == "serve"
    assert tree["secrets"] == {"VLLM_API_KEY": "/k"}
    assert tree["notices"][0]["key"] == "engine.swap_space"


def test_a_shell_hands_on_exactly_what_was_rendered() -> None:
    for config in configurations(15):
        command = render(config)
        if command.secrets:
            continue
        argv, environment = replayed(command)
        assert argv == list(command.argv)
        assert command.environment.items() <= environment.items()


def test_a_shell_reads_the_key_when_it_runs(tmp_path: Path) -> None:
    key = tmp_path / "the key's file"
    command = render(RigConfig.model_validate({"server": {"api_key_file": str(key)}}))
    key.write_text("secret\n", encoding="utf-8")
    assert "secret" not in as_shell(command)
    assert replayed(command)[1]["VLLM_API_KEY"] == "secret"
    key.unlink()
    with pytest.raises(subprocess.CalledProcessError):
        replayed(command)


def test_shell_syntax_of_generated_commands() -> None:
    for config in configurations(30):
        script = as_shell(render(config))
        done = subprocess.run(["sh", "-n"], input=script, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RIGAPPLIANCE_")}
    return subprocess.run(
        [sys.executable, "-m", "rigappliance", "render", *arguments], capture_output=True, text=True, env=environment
    )


def test_command_line_prints_a_script_by_default_and_notes_on_stderr() -> None:
    done = run()
    assert done.returncode == ExitCode.OK
    assert done.stdout.startswith("#!/bin/sh\n")
    assert done.stderr.startswith("rigappliance: note: engine.swap_space is not passed on")


def test_command_line_prints_json_and_units() -> None:
    assert json.loads(run("--format", "json").stdout)["argv"][2] == "serve"
    unit = run("--format", "systemd", "--profile", "demo")
    assert "[Service]\n" in unit.stdout
    assert unit.stderr == "rigappliance: note: 3 more files belong to it; --output writes them all\n"


def test_command_line_writes_the_files_of_a_host(tmp_path: Path) -> None:
    done = run("--format", "systemd", "--fetch", "--systemd", "252", "--output", str(tmp_path))
    written = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    assert written == {
        Path("etc/modules-load.d/rigappliance.conf"),
        Path("etc/sysctl.d/60-rigappliance.conf"),
        Path("etc/systemd/system/rigappliance-cards.service"),
        Path("etc/systemd/system/rigappliance-swap.service"),
        Path("etc/systemd/system/rigappliance-weights.service"),
        Path("etc/systemd/system/rigappliance.service"),
        Path("etc/systemd/system/rigappliance.target"),
        Path("etc/sysusers.d/rigappliance.conf"),
        Path("etc/tmpfiles.d/rigappliance.conf"),
    }
    assert {Path(line).relative_to(tmp_path) for line in done.stdout.splitlines()} == written
    assert "RestartSteps" not in (tmp_path / "etc/systemd/system/rigappliance.service").read_text(encoding="utf-8")


def test_command_line_says_which_directory_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "etc").write_text("")
    done = run("--format", "systemd", "--output", str(tmp_path))
    assert done.returncode == ExitCode.USAGE
    assert "cannot write" in done.stderr


def test_command_line_refuses_options_of_another_format(tmp_path: Path) -> None:
    done = run("--output", str(tmp_path))
    assert done.returncode == ExitCode.USAGE
    assert "--format systemd" in done.stderr


def test_command_line_refuses_a_removed_option(tmp_path: Path) -> None:
    path = tmp_path / "rig.toml"
    path.write_text("[engine.options]\nswap-space = 4\n", encoding="utf-8")
    for form in ("json", "shell", "systemd"):
        done = run("-c", str(path), "--format", form)
        assert done.returncode == ExitCode.CONFIG
        assert done.stdout == ""
        assert "memory.swap" in done.stderr

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from rigappliance.config import RigConfig
from rigappliance.configfile import load_config
from rigappliance.errors import ConfigError
from rigappliance.render.systemd import memory_max, render_unit, unit

PROGRAM = Path("/bin/true")


def settings(**tree: Any) -> dict[str, str]:
    return {s.key: s.value for s in unit(RigConfig.model_validate(tree), Path("/etc/rig.toml"), PROGRAM)}


def test_defaults() -> None:
    found = settings()
    assert found["Type"] == "notify"
    assert found["NotifyAccess"] == "main"
    assert found["ExecStart"] == "/bin/true launch --config /etc/rig.toml --profile rig"
    assert found["MemoryMax"] == "90%"
    assert found["MemorySwapMax"] == "infinity"
    assert found["RestartPreventExitStatus"] == "2 3 4 9 10"
    assert found["SuccessExitStatus"] == "130"
    assert found["KillMode"] == "mixed"
    assert found["StateDirectory"] == "rigappliance"
    assert "LoadCredential" not in found


@pytest.mark.parametrize(("stall", "start"), [("1min", "900s"), ("20min", "1260s"), ("2h", "7260s")])
def test_first_start_deadline_covers_the_stall_timeout(stall: str, start: str) -> None:
    assert settings(launch={"stall_timeout": stall})["TimeoutStartSec"] == start


def test_stop_deadline_covers_draining_and_stopping() -> None:
    assert settings(launch={"drain_timeout": "5min", "stop_timeout": "1min"})["TimeoutStopSec"] == "390s"


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("90%", "90%"), ("12.5 %", "12.5%"), ("33.3333%", "33.33%"), ("100%", "100%"), ("14GiB", str(14 * 1024**3))],
)
def test_memory_limits_in_the_syntax_of_systemd(limit: str, expected: str) -> None:
    assert memory_max(limit) == expected


def test_the_key_is_a_credential() -> None:
    found = settings(server={"api_key_file": "/etc/keys/100%/api key"})
    assert found["LoadCredential"] == "api-key:/etc/keys/100%%/api key"
    assert found["Environment"] == "RIGAPPLIANCE_SERVER__API_KEY_FILE=%d/api-key"


def test_the_credential_reaches_the_configuration() -> None:
    environ = {"RIGAPPLIANCE_SERVER__API_KEY_FILE": "/run/credentials/rigappliance.service/api-key"}
    assert str(load_config(environ=environ).server.api_key_file) == environ["RIGAPPLIANCE_SERVER__API_KEY_FILE"]


def test_words_are_quoted_and_specifiers_taken_literally() -> None:
    text = render_unit(RigConfig.model_validate({}), Path('/etc/100%/a "b" $HOME.toml'), PROGRAM)
    assert r'--config "/etc/100%%/a \"b\" $$HOME.toml" --profile rig' in text


def test_relative_paths_keep_their_meaning() -> None:
    text = render_unit(load_config(profile="demo", environ={}), None, PROGRAM)
    assert f"WorkingDirectory={Path.cwd()}" in text
    assert "--config" not in text


def test_line_breaks_are_refused() -> None:
    with pytest.raises(ConfigError):
        settings(model={"name": "a\nExecStartPre=/bin/sh"})


def test_every_reason_is_a_comment_above_its_setting() -> None:
    lines = render_unit(RigConfig.model_validate({}), Path("/etc/rig.toml"), PROGRAM).splitlines()
    assert lines[lines.index("MemorySwapMax=infinity") - 1] == "# Swap is where most of the weights pass through."
    assert all(line.startswith(("#", "[")) or "=" in line or not line for line in lines)


@pytest.mark.parametrize(
    "tree",
    [
        {},
        {"server": {"api_key_file": "/etc/keys/api key"}, "memory": {"max": "12.25%"}},
        {"state_dir": "/srv/st ate 100%", "model": {"path": "/srv/mo\"del's", "name": "100% ✓"}},
    ],
)
def test_systemd_accepts_the_unit(tree: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "rigappliance.service"
    path.write_text(render_unit(RigConfig.model_validate(tree), tmp_path / "a b.toml", PROGRAM), encoding="utf-8")
    verifier = shutil.which("systemd-analyze")
    if verifier:
        done = subprocess.run([verifier, "verify", "--man=no", path], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")

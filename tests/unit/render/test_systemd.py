from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from rigappliance.config import RigConfig
from rigappliance.configfile import load_config
from rigappliance.diagnosis.catalogue import CAUSES
from rigappliance.diagnosis.cause import Decision
from rigappliance.errors import ConfigError, ExitCode
from rigappliance.render.plainhost import SYSCTL, SYSUSERS, TMPFILES, UNIT_DIRECTORY, host_files
from rigappliance.render.systemd import CARDS, ENGINE, SWAP, TARGET, WEIGHTS, unit_text, units
from rigappliance.render.unitsyntax import memory_max
from rigappliance.render.unittable import Setting, unit_settings

# What starting again cannot mend.
FINAL_EXITS = (ExitCode.USAGE, ExitCode.CONFIG, ExitCode.PREFLIGHT, ExitCode.BUSY, ExitCode.ENGINE_MISSING)
PROGRAM = Path("/bin/true")
CONFIG = Path("/etc/rig.toml")
RECORDINGS = Path(__file__).resolve().parents[2] / "recordings"


def unit(name: str = ENGINE, systemd: int | None = None, **tree: Any) -> dict[str, list[str]]:
    """Key → its values in one unit of a rig that fetches its checkpoint."""
    found: dict[str, list[str]] = {}
    for s in units(RigConfig.model_validate(tree), CONFIG, PROGRAM, fetch=True, systemd=systemd)[name]:
        found.setdefault(s.key, []).append(s.value)
    return found


def test_engine_defaults() -> None:
    found = unit()
    assert found["Type"] == ["notify"]
    assert found["NotifyAccess"] == ["main"]
    assert found["ExecStart"] == ["/bin/true launch --config /etc/rig.toml --profile rig"]
    assert found["MemoryMax"] == ["90%"]
    assert found["MemorySwapMax"] == ["infinity"]
    assert found["KillMode"] == ["mixed"]
    assert found["StateDirectory"] == ["rigappliance"]
    assert found["User"] == found["Group"] == ["rigappliance"]
    assert found["After"] == ["network.target", "swap.target", f"{SWAP} {WEIGHTS} {CARDS}"]
    assert found["Wants"] == [f"{SWAP} {WEIGHTS} {CARDS}"]
    assert found["Environment"] == ["HOME=/var/lib/rigappliance"]
    assert found["ProtectHome"] == ["yes"]
    assert not {"LoadCredential", "ReadWritePaths", "BindReadOnlyPaths", "BindPaths"} & found.keys()


def test_exit_codes_decide_about_another_start() -> None:
    stops = sorted(cause.exit_code for cause in CAUSES.values() if cause.decision is Decision.STOP)
    final_ends = [*map(int, FINAL_EXITS), int(ExitCode.GIVEN_UP), *stops]
    assert unit()["RestartPreventExitStatus"] == [" ".join(map(str, final_ends))], "table and catalogue agree"
    passing = {cause.exit_code for cause in CAUSES.values() if cause.decision in (Decision.RETRY, Decision.COMPACT)}
    assert not passing & set(final_ends)
    for name in (ENGINE, SWAP, WEIGHTS):
        assert unit(name)["SuccessExitStatus"] == [str(int(ExitCode.INTERRUPTED))]
    # A download that is running elsewhere ends by itself.
    final = [str(int(code)) for code in FINAL_EXITS if code != ExitCode.BUSY]
    assert unit(WEIGHTS)["RestartPreventExitStatus"] == [" ".join(final)]


def test_what_runs_around_the_launch() -> None:
    found = unit(state_dir="/srv/st ate$")
    [before] = found["ExecStartPre"]
    assert before.startswith("+-/bin/sh -c '"), "as root, and no obstacle to the start"
    assert before.endswith('"/srv/st ate$$/compact"')
    assert found["ExecStopPost"] == ["-/bin/true why --record --config /etc/rig.toml --profile rig"]
    assert found["LimitCORE"] == ["0"]


@pytest.mark.parametrize("asked", [True, False])
def test_memory_is_compacted_where_a_launch_asked_for_it(tmp_path: Path, asked: bool) -> None:
    """The shell's part, with another file in the kernel's place."""
    flag, kernel = tmp_path / "compact", tmp_path / "compact_memory"
    if asked:
        flag.touch()
    [line] = unit()["ExecStartPre"]
    script = line.split("'")[1].replace("$$", "$").replace("/proc/sys/vm/compact_memory", str(kernel))
    assert subprocess.run(["/bin/sh", "-c", script, str(flag)], check=False).returncode == 0
    assert kernel.exists() == asked


def test_swap_and_weights() -> None:
    assert unit(SWAP)["ExecStart"] == ["/bin/true swap on --config /etc/rig.toml --profile rig"]
    assert unit(SWAP)["ExecStop"] == ["/bin/true swap off --config /etc/rig.toml --profile rig"]
    assert unit(SWAP)["RequiresMountsFor"] == ["/var/lib"]
    assert unit(WEIGHTS)["ExecStart"] == ["/bin/true fetch --config /etc/rig.toml --profile rig"]


def test_nothing_slow_holds_up_the_boot() -> None:
    # With default dependencies a target is ordered after all that it wants.
    assert unit(TARGET)["DefaultDependencies"] == ["no"]
    assert unit(TARGET)["WantedBy"] == ["multi-user.target"]
    for name in (ENGINE, SWAP, WEIGHTS, CARDS):
        assert unit(name)["WantedBy"] == [TARGET]
    assert unit(SWAP)["TimeoutStartSec"] == unit(WEIGHTS)["TimeoutStartSec"] == ["infinity"]


def test_the_swap_unit_has_no_mount_namespace() -> None:
    # Keys of systemd.exec(5) that make one.
    namespaced = re.compile(
        r"Protect(System|Home|Kernel\w+|ControlGroups|Hostname|Proc)|Private\w+|\w+Paths|ProcSubset"
    )
    assert [key for key in unit(SWAP) if namespaced.fullmatch(key)] == []
    assert "ProtectSystem" in filter(namespaced.fullmatch, unit())


def test_units_follow_the_configuration() -> None:
    config = RigConfig.model_validate({"memory": {"swap": "0B"}, "engine": {"device": "cpu"}})
    assert list(units(config)) == [ENGINE, TARGET]
    assert list(units(RigConfig.model_validate({}), fetch=True)) == [ENGINE, TARGET, SWAP, WEIGHTS, CARDS]
    keys = {s.key for s in units(config)[ENGINE]}
    assert "Wants" not in keys
    assert "After" in keys


def test_older_systemd_gets_no_key_that_it_does_not_know() -> None:
    newer = unit().keys() - unit(systemd=252).keys()
    assert newer == {"RestartSteps", "RestartMaxDelaySec"}
    assert unit(systemd=254) == unit()


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("90%", "90%"), ("12.5 %", "12.5%"), ("33.3333%", "33.33%"), ("100%", "100%"), ("14GiB", str(14 * 1024**3))],
)
def test_memory_limits_in_the_syntax_of_systemd(limit: str, expected: str) -> None:
    assert memory_max(limit) == expected


def test_the_key_is_a_credential() -> None:
    found = unit(server={"api_key_file": "/etc/keys/100%/api key"})
    assert found["LoadCredential"] == ["api-key:/etc/keys/100%%/api key"]
    assert found["Environment"][1:] == ["RIGAPPLIANCE_SERVER__API_KEY_FILE=%d/api-key"]


def test_the_credential_reaches_the_configuration() -> None:
    environ = {"RIGAPPLIANCE_SERVER__API_KEY_FILE": "/run/credentials/rigappliance.service/api-key"}
    assert str(load_config(environ=environ).server.api_key_file) == environ["RIGAPPLIANCE_SERVER__API_KEY_FILE"]


def test_words_are_quoted_and_specifiers_taken_literally() -> None:
    settings = units(RigConfig.model_validate({}), Path('/etc/100%/a "b" $HOME.toml'), PROGRAM)[ENGINE]
    assert r'--config "/etc/100%%/a \"b\" $$HOME.toml" --profile rig' in unit_text(ENGINE, settings)


def test_state_elsewhere_is_writable() -> None:
    found = unit(state_dir="/srv/st ate", model={"path": "/srv/models/one"})
    assert "StateDirectory" not in found
    assert found["ReadWritePaths"] == ['"/srv/st ate"']
    assert found["WorkingDirectory"] == ["/srv/st ate"]
    assert found["Environment"] == ['"HOME=/srv/st ate"']
    assert unit(WEIGHTS, state_dir="/srv/st ate", model={"path": "/srv/models/one"})["ReadWritePaths"] == [
        "/srv/models/one"
    ]


def test_what_lies_in_a_home_directory_is_let_in() -> None:
    tree: dict[str, Any] = {"state_dir": "/home/a/state", "model": {"path": "/home/a/models/one"}}
    found = unit(**tree)
    assert found["ProtectHome"] == ["tmpfs"]
    assert found["BindReadOnlyPaths"] == ["/home/a/models/one"]
    assert found["BindPaths"] == ["/home/a/state"]
    assert unit(WEIGHTS, **tree)["BindPaths"] == ["/home/a/state", "/home/a/models/one"]
    inside = unit(state_dir="/home/a/state", model={"path": "/home/a/state/one"})
    assert "BindReadOnlyPaths" not in inside


def test_relative_paths_keep_their_meaning() -> None:
    settings = units(load_config(profile="demo", environ={}), None, PROGRAM)[ENGINE]
    text = unit_text(ENGINE, settings)
    assert f"WorkingDirectory={Path.cwd()}\n" in text
    assert "--config" not in text


def test_a_file_that_sets_all_paths_of_its_profile_binds_the_unit_to_no_directory(tmp_path: Path) -> None:
    file = tmp_path / "rig.toml"
    paths = 'model.path = "/srv/model"\nengine.python = "/opt/engine/bin/python"\nstate_dir = "/var/lib/rig"\n'
    file.write_text(f'profile = "demo"\n{paths}')
    settings = units(load_config(file, environ={}), file, PROGRAM)[ENGINE]
    assert "WorkingDirectory=/var/lib/rig\n" in unit_text(ENGINE, settings)


@pytest.mark.parametrize("key", ["name", "path"])
def test_line_breaks_are_refused(key: str) -> None:
    with pytest.raises(ConfigError):
        unit(model={key: "/a\nExecStartPre=/bin/sh"})


def test_a_variable_that_nobody_fills_in_is_an_error() -> None:
    with pytest.raises(KeyError):
        unit_settings("swap", {"swap_file": "/x"})


def test_every_reason_is_a_comment_above_its_setting() -> None:
    lines = unit_text(ENGINE, units(RigConfig.model_validate({}))[ENGINE]).splitlines()
    assert lines[lines.index("MemorySwapMax=infinity") - 1] == (
        "# Swap is where most of the engine's pages are while it runs."
    )
    assert all(line.startswith(("#", "[")) or "=" in line or not line for line in lines)


def test_the_cards_of_older_and_newer_drivers_are_let_in() -> None:
    allowed = {value.removeprefix("char-").split()[0] for value in unit()["DeviceAllow"]}
    recorded = (RECORDINGS / "proc-devices-driver-580.txt").read_text(encoding="utf-8")
    names = {line.split()[1] for line in recorded.splitlines()[1:]}
    # Fabrics between servers' cards, which a rig has not.
    assert names - allowed == {"nvidia-nvswitch", "nvidia-nvlink", "nvidia-caps-imex-channels"}
    assert "nvidia-frontend" in allowed


def test_every_relaxation_is_named() -> None:
    why = {s.key: s.why for s in units(RigConfig.model_validate({}))[ENGINE] if s.why}
    for key in ("DeviceAllow", "ProcSubset", "MemoryDenyWriteExecute", "RestrictAddressFamilies", "SystemCallFilter"):
        assert "elaxed for" in why[key]


TREES: list[dict[str, Any]] = [
    {},
    {"server": {"api_key_file": "/etc/keys/api key"}, "memory": {"max": "12.25%"}},
    {"state_dir": "/srv/st ate 100%", "model": {"path": "/srv/mo\"del's", "name": "100% ✓"}},
    {"state_dir": "/home/a/state", "model": {"path": "/home/a/models/one"}},
]


@pytest.mark.parametrize("tree", TREES)
def test_systemd_accepts_the_units(tree: dict[str, Any], tmp_path: Path, systemd_analyze: str, systemd: int) -> None:
    config = RigConfig.model_validate(tree)
    rendered = units(config, tmp_path / "a b.toml", PROGRAM, fetch=True, systemd=systemd)
    for name, settings in rendered.items():
        (tmp_path / name).write_text(unit_text(name, settings), encoding="utf-8")
    paths = [str(tmp_path / name) for name in rendered]
    done = subprocess.run([systemd_analyze, "verify", "--man=no", *paths], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("name", "most"), [(ENGINE, 3.0), (WEIGHTS, 3.0)])
def test_exposure(name: str, most: float, tmp_path: Path, systemd_analyze: str, systemd: int) -> None:
    path = tmp_path / name
    settings = units(RigConfig.model_validate({}), CONFIG, PROGRAM, fetch=True, systemd=systemd)[name]
    path.write_text(unit_text(name, settings), encoding="utf-8")
    command = [systemd_analyze, "security", "--offline=yes", "--no-pager", str(path)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"exposure level for \S+: (\d+\.\d+)", text)
    assert found is not None
    assert float(found[1]) <= most


def test_files_of_a_host() -> None:
    files = {file.path: file.text for file in host_files(RigConfig.model_validate({}), CONFIG, PROGRAM, fetch=True)}
    assert UNIT_DIRECTORY / ENGINE in files
    assert "vm.swappiness = 10\nvm.page-cluster = 4\n" in files[SYSCTL]
    assert files[SYSUSERS].splitlines()[1].split(maxsplit=3)[:3] == ["u", "rigappliance", "-"]
    model = "/var/lib/rigappliance/models/Qwen2.5-72B-Instruct-GPTQ-Int8"
    assert [line.split()[1] for line in files[TMPFILES].splitlines()[1:]] == [
        "/var/lib/rigappliance",
        "/var/lib/rigappliance/models",
        model,
    ]


def test_a_checkpoint_that_somebody_else_brings_keeps_its_owner() -> None:
    config = RigConfig.model_validate({"model": {"path": "/srv/models/one"}})
    for fetch in (False, True):
        files = {file.path: file.text for file in host_files(config, fetch=fetch)}
        assert ("/srv/models/one" in files[TMPFILES]) is fetch


def test_settings_stay_in_the_order_of_the_table() -> None:
    settings = unit_settings("cards", {}, None)
    assert settings[0] == Setting("Unit", "Description", "Device nodes of the cards")

"""The scripts of nixos/tests on guests: a fixed part of them, and the program that runs them all.

`rigappliance-vmtest run` has the whole; here is what a change is most likely to
break, in about two minutes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rigappliance.vmtest import cache
from rigappliance.vmtest.bundle import write_bundle
from rigappliance.vmtest.cases import TESTS, Case, cases
from rigappliance.vmtest.control import TREE
from rigappliance.vmtest.needs import read_needs
from rigappliance.vmtest.nixbench import missing
from rigappliance.vmtest.nixosunits import NixosUnits

PROGRAM = [sys.executable, "-m", "rigappliance.vmtest.cli"]
# With an image that has to be made first.
LIMIT_S = 1500
# Either kind of units, in little time.
FIXED = [("service", "renderer"), ("swap", "nixos"), ("jit", "nixos")]
# Without a bench the same scripts run with the renderer's.
CHOSEN = sorted({(name, "renderer" if missing() else units) for name, units in FIXED})


def vmtest(*arguments: str, cwd: Path = TREE, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *arguments],
        cwd=cwd,
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )


@pytest.mark.vm
@pytest.mark.parametrize(("name", "units"), CHOSEN)
def test_a_script_passes(name: str, units: str) -> None:
    done = vmtest("run", name, "--units", units)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(f"passed  {name}  ")


# Written here, so that their failure is nobody's defect.
PASSING = """# What passes.
machine.succeed("test -e /srv/small/lost+found", "grep --quiet pace /etc/told.json")
machine.succeed("systemctl show -P After rigappliance.service >/dev/null")
print('FAULT {"fault": "none", "cause": "nothing"}')
print("said")
"""
FAILING = """# What fails.
def look(): return machine.succeed("echo seen; false")
look()
"""
NEEDS = """engine = "none"
volumes = [{ path = "/srv/small", size = "16MiB" }]
[files]
"/etc/told.json" = '{"pace": 1}'
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A directory of tests: two that pass, one that fails."""
    shutil.copytree(TESTS / "lib", tmp_path / "tests" / "lib")
    for name, script in (("failing", FAILING), ("passing", PASSING)):
        (tmp_path / "tests" / f"{name}.py").write_text(script)
        (tmp_path / "tests" / f"{name}.toml").write_text(NEEDS)
        shutil.copyfile(TESTS / "service.json", tmp_path / "tests" / f"{name}.json")
    return tmp_path / "tests"


@pytest.mark.vm
def test_what_came_of_each_is_told_and_the_logs_of_a_failure_are_kept(own: Path, tmp_path: Path) -> None:
    table = tmp_path / "faults"
    done = vmtest("run", "--json", "--tests", str(own), RIGAPPLIANCE_TEST_FAULT_TABLE=str(table))
    assert done.returncode == 1, done.stderr
    failing, passing = json.loads(done.stdout)
    assert (failing["name"], failing["passed"]) == ("failing", False)
    assert failing["error"].startswith("failing.py:3: look()\nfailing.py:2: def look()")
    assert "ended with status 1" in failing["error"] and "seen" in failing["error"]
    transcript = (Path(failing["logs"]) / "shell.log").read_text()
    assert "echo seen; false" in transcript and "status 1 after" in transcript
    assert (Path(failing["logs"]) / "console.log").stat().st_size > 0
    shutil.rmtree(failing["logs"])
    row = {"fault": "none", "cause": "nothing", "backend": "guest"}
    assert (passing["passed"], passing["logs"], passing["faults"]) == (True, None, [row])
    assert [json.loads(line) for line in table.read_text().splitlines()] == [row]
    assert "  said\n" in done.stderr


@pytest.mark.vm
def test_logs_are_kept_where_that_is_asked(own: Path, tmp_path: Path) -> None:
    done = vmtest("run", "passing", "--keep", "--tests", str(own), RIGAPPLIANCE_VMTEST_LOGS=str(tmp_path / "logs"))
    assert done.returncode == 0, done.stdout + done.stderr
    place = Path(done.stdout.rpartition("logs: ")[2].strip())
    assert place.parent == tmp_path / "logs"
    assert "[" in (place / "shell.log").read_text()


def test_every_test_is_listed_with_what_it_shows() -> None:
    done = vmtest("list")
    assert [line.split()[0] for line in done.stdout.splitlines()] == [case.name for case in cases()]
    assert all(len(line.split(maxsplit=1)[1]) > 20 for line in done.stdout.splitlines())
    rows = json.loads(vmtest("list", "--json").stdout)
    assert {row["name"]: Path(row["script"]).is_file() for row in rows} == {case.name: True for case in cases()}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "sevrice"], "did you mean 'service'?"),
        (["run", "service", "--units", "debian"], "one of renderer, nixos"),
        (["run", "--slow"], "--slow"),
        (["walk"], "rigappliance-vmtest"),
        (["list", "--tests", "/nonexistent"], "there are no tests in /nonexistent"),
    ],
)
def test_a_wrong_command_line_says_so(arguments: list[str], said: str) -> None:
    done = vmtest(*arguments)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr and "to do:" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("memory = ", "is no TOML"),
        ("memroy = '1GiB'", "memroy"),
        ("memory = 5", "memory"),
        ("engine = 'real'", "engine"),
        ("volumes = [{ path = 'srv', size = '1MiB' }]", "volumes.0.path"),
    ],
)
def test_wrong_needs_are_named(own: Path, text: str, said: str) -> None:
    (own / "passing.toml").write_text(text)
    done = vmtest("run", "passing", "--tests", str(own))
    assert done.returncode == 3, done.stderr
    assert said in done.stderr and "Traceback" not in done.stderr


def test_a_machine_without_a_file_of_needs_has_the_usual(tmp_path: Path) -> None:
    usual = read_needs(tmp_path / "none.toml")
    assert (usual.memory, usual.engine, usual.checkpoint, usual.boot) == (1024**3, "standin", True, False)


def test_a_bundle_has_the_stand_in_and_a_checkpoint(own: Path, tmp_path: Path) -> None:
    (own / "passing.toml").write_text("")
    write_bundle(Case("passing", own), tmp_path / "bundle", "/usr/bin/python3")
    assert (tmp_path / "bundle/engine/bin/python").stat().st_mode & 0o111
    assert list((tmp_path / "bundle/engine").glob("lib*/python3*/site-packages/vllm*.dist-info"))
    assert (tmp_path / "bundle/checkpoint/config.json").is_file()


def test_the_store_paths_of_a_unit_lead_to_the_guest(tmp_path: Path) -> None:
    store = "/nix/store/" + "0" * 32
    text = f"ExecStart={store}-rig/bin/rigappliance --config {store}-rig.json\nEnvironment=PATH={store}-coreutils/bin\n"
    units = NixosUnits({"a.service": text}, {"a.service": ["b.target"]}, f"{store}-rig", f"{store}-rig.json")
    assert units.write(tmp_path / "units") == {
        "/etc/systemd/system/b.target.wants/a.service": "../a.service",
        f"{store}-rig": "/opt/rigappliance/control",
        f"{store}-rig.json": "/etc/rigappliance/rig.json",
        f"{store}-coreutils": "/usr",
    }
    assert (tmp_path / "units/a.service").read_text() == text


def test_equal_machines_are_prepared_once(own: Path, tmp_path: Path) -> None:
    """Names are nothing that a machine depends on."""
    from rigappliance.vmtest.prepare import digests, write_stage

    keys = []
    for name in ("failing", "passing"):
        write_stage(Case(name, own), tmp_path / name)
        keys.append(cache.key_of(digests(tmp_path / name)))
    assert keys[0] == keys[1]

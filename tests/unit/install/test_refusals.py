"""What forbids an installation is said before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from rigappliance.errors import BusyError, ConfigError, PreflightError, RigError, UsageError
from rigappliance.install.apply import only_one
from rigappliance.install.declaration import Request
from rigappliance.install.manifest import MANIFEST
from rigappliance.install.plan import plan_install
from rigappliance.install.uninstall import plan_uninstall
from rigappliance.render.systemd import CONFIG_FILE, ENGINE
from tests.unit.install.machine import CONFIG, PROGRAM, SOUND, STATE, UNITS, Machine

Arrange = Callable[[Machine], object]


@dataclass(frozen=True)
class Row:
    """One thing that forbids it; ``host`` changes what the product sees."""

    name: str
    error: type[RigError]
    found: str
    remedy: str
    arrange: Arrange = lambda machine: None
    host: tuple[tuple[str, Any], ...] = ()


def declare(text: str) -> Arrange:
    return lambda machine: machine.declare(text)


def write(path: str | Path, text: str = "x\n") -> Arrange:
    return lambda machine: machine.write(path, text)


def mode(path: str | Path, bits: int) -> Arrange:
    return lambda machine: machine.at(path).chmod(bits)


def mask(machine: Machine) -> None:
    machine.at(UNITS / ENGINE).symlink_to("/dev/null")


def edit(machine: Machine) -> None:
    machine.install()
    machine.write(UNITS / ENGINE, "[Service]\n")


def link_program(machine: Machine) -> None:
    """A link of root's to a program that is not."""
    machine.write("/home/a/rigappliance", "")
    machine.at(PROGRAM).unlink()
    machine.at(PROGRAM).symlink_to(machine.at("/home/a/rigappliance"))
    machine.at("/home/a").chmod(0o777)


P = PreflightError
ROWS = [
    Row("not root", P, "`rigappliance install` runs as user 1000", "sudo /opt/", host=(("uid", 1000),)),
    Row("a container", P, "systemd is not running", "on the rig itself",
        lambda machine: machine.at("/run/systemd/system").rmdir()),
    Row("an old systemd", P, "the version of systemd is 246", "upgrade the dist", host=(("systemd", 246),)),
    Row("no systemctl", P, "the version of systemd is unknown", "upgrade the dist", host=(("systemd", None),)),
    Row("NixOS", P, "this is NixOS", "services.rigappliance.enable", write("/etc/NIXOS", "")),
    Row("no configuration", ConfigError, "rig.toml: No such file", "--config", lambda m: m.at(CONFIG).unlink()),
    Row("unknown key", ConfigError, "unknown key 'enigne'", "did you mean", declare("[enigne]\n")),
    Row("an open API without a key", ConfigError, "0.0.0.0 is reachable", "write a key",
        declare('[server]\nhost = "0.0.0.0"\n')),
    Row("a limit above the RAM", ConfigError, "more than hardware.ram", "lower", declare('[memory]\nmax = "64GiB"\n')),
    Row("too little swap", ConfigError, "for 8 ranks", "add swap", declare('[memory]\nswap = "0B"\n')),
    Row("swap of a few bytes", ConfigError, "memory.swap is 4.0 KiB", "correct memory.swap",
        declare('[memory]\nswap = "4KiB"\n[engine]\ndevice = "cpu"\ntensor_parallel = 1\n')),
    Row("an option that is gone", ConfigError, "no longer has", "memory.swap",
        declare("[engine.options]\nswap-space = 4\n")),
    Row("no command", P, f"there is no command {PROGRAM}", "python3 -m venv", lambda m: m.at(PROGRAM).unlink()),
    Row("a program that others write", P, f"{PROGRAM} can be changed", "install rigappliance as root",
        mode(PROGRAM, 0o777)),
    Row("a place for programs that others write", P, "/opt/rigappliance can be changed", "as root",
        mode("/opt/rigappliance", 0o757)),
    Row("a link to a program that others write", P, "/home/a can be changed", "as root", link_program),
    Row("a configuration that others write", P, f"{CONFIG} can be changed", "install -D -o root", mode(CONFIG, 0o666)),
    Row("a configuration in a place that others write", P, "/etc can be changed", "-o root", mode("/etc", 0o777)),
    Row("state below /tmp", P, "state_dir is /tmp/state: the services have a /tmp of their own", "move it",
        declare(SOUND.replace('"/var/lib/rigappliance"', '"/tmp/state"'))),
    Row("an engine below /var/tmp", P, "engine.python is /var/tmp/e/bin/python", "move it",
        declare(SOUND + '[engine]\npython = "/var/tmp/e/bin/python"\n')),
    Row("somebody else's unit", P, f"{UNITS / ENGINE} is there", f"install again: {UNITS / ENGINE}",
        write(UNITS / ENGINE)),
    Row("a masked unit", P, f"{UNITS / ENGINE} is no plain file", "systemctl unmask", mask),
    Row("an edited unit", P, "was edited since it was installed", f"`systemctl edit {ENGINE}`", edit),
    Row("a system directory for the state", P, "state_dir is /srv, which belongs to the system", "/srv/rigappliance",
        declare('state_dir = "/srv"\n')),
    Row("a full directory for the state", P, f"state_dir {STATE} is in use for something else: photos", "set state_dir",
        write(STATE / "photos/1.jpg")),
    Row("a file for the state", P, f"state_dir {STATE} is no directory", "move it away", write(STATE)),
    Row("a link for the state", P, f"state_dir {STATE} is a symbolic link", "set state_dir to /data",
        lambda machine: machine.at(STATE).symlink_to("/data")),
    Row("a damaged record", P, "cannot be understood: Invalid JSON", "backup", write(MANIFEST, '{"format": 1,')),
    Row("a record of the future", P, "cannot be understood: format: ", "backup", write(MANIFEST, '{"format": 2}')),
]  # fmt: skip


@pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in ROWS])
def test_is_refused_and_nothing_is_done(row: Row, machine: Machine) -> None:
    row.arrange(machine)
    machine.host = replace(machine.host, **dict(row.host))
    before = machine.listing()
    machine.ran.clear()
    with pytest.raises(row.error) as caught:
        machine.install()
    assert type(caught.value) is row.error
    assert row.found in caught.value.found
    assert row.remedy in caught.value.remedy
    assert caught.value.expected
    assert machine.listing() == before
    assert [command for command in machine.ran if "is-active" not in command] == []


@pytest.mark.parametrize("host", [{"uid": 1000}, {"systemd": None}, {"systemd": 240}])
def test_a_dry_run_is_for_anybody_anywhere(host: dict[str, Any], machine: Machine) -> None:
    machine.at("/run/systemd/system").rmdir()
    plan = plan_install(replace(machine.host, **host), Request(CONFIG), dry_run=True)
    text = "".join(getattr(step, "text", "") for step in plan.steps)
    assert "\nRestartSteps=" in text
    assumed = any("shown for the newest" in note for note in plan.notes)
    assert assumed is ("systemd" in host)


def test_units_are_written_for_the_systemd_that_reads_them(machine: Machine) -> None:
    machine.host = replace(machine.host, systemd=252)
    machine.install()
    assert "RestartSteps=" not in machine.at(UNITS / ENGINE).read_text()


def test_a_group_of_root_may_write(machine: Machine) -> None:
    from rigappliance.install.trust import changeable

    directory = 0o040000
    assert not changeable(directory | 0o775, 0, 0, 0)
    assert changeable(directory | 0o775, 0, 50, 0)
    assert changeable(directory | 0o755, 1000, 0, 0)
    assert not changeable(directory | 0o1777, 0, 0, 0)
    # The sticky bit of a file protects nothing, and the mode of a link means nothing.
    assert changeable(0o100000 | 0o1777, 0, 0, 0)
    assert not changeable(0o120000 | 0o777, 0, 0, 0)


def test_what_launches_by_hand_left_is_no_obstacle(machine: Machine) -> None:
    machine.fill_state()
    machine.write(STATE / "state.json.corrupt-20260101-000000", "x")
    machine.install()


def test_a_download_takes_no_directory_from_others(machine: Machine) -> None:
    machine.declare(SOUND.replace("/var/lib/rigappliance/models", "/srv/models"))
    machine.write("/srv/models/tiny/photo.jpg", "x")
    machine.plan()
    with pytest.raises(PreflightError, match=r"model.path /srv/models/tiny is in use for something else: photo.jpg"):
        machine.plan(fetch=True)
    machine.write("/srv/models/tiny/config.json", "{}")
    machine.plan(fetch=True)


def test_a_unit_that_is_the_same_already_is_taken_over(machine: Machine) -> None:
    before = machine.listing()
    machine.install()
    text = machine.at(UNITS / ENGINE).read_text()
    machine.uninstall()
    machine.write(UNITS / ENGINE, text)
    machine.install()
    machine.uninstall()
    assert machine.listing() == before


def test_the_demo_needs_a_file_of_its_own(machine: Machine) -> None:
    with pytest.raises(UsageError, match=f"--profile demo without a configuration, and {CONFIG_FILE}"):
        machine.plan(config=None, profile="demo")


def test_one_at_a_time(machine: Machine) -> None:
    with only_one(machine.host), pytest.raises(BusyError, match="is at work"), only_one(machine.host):
        raise AssertionError("two at once")
    with only_one(machine.host):
        machine.install()


@pytest.mark.parametrize(("host", "found"), [({"uid": 1000}, "runs as user 1000"), ({}, "systemd is not running")])
def test_uninstalling_is_for_root_on_the_machine_itself(host: dict[str, Any], found: str, machine: Machine) -> None:
    machine.install()
    machine.at("/run/systemd/system").rmdir()
    with pytest.raises(PreflightError, match=found):
        plan_uninstall(replace(machine.host, **host))
    assert plan_uninstall(replace(machine.host, **host), dry_run=True).steps

"""A power cut after any step: the rest can be done, and all can be undone."""

from __future__ import annotations

from pathlib import Path

import pytest

from rigappliance.errors import PreflightError
from rigappliance.install.host import Done
from rigappliance.install.manifest import read_manifest
from rigappliance.install.steps import Command
from rigappliance.install.uninstall import plan_uninstall
from tests.unit.install.machine import REMEDY, SOUND, SWAP_FILE, Machine
from tests.unit.install.test_install import NO_SWAP, OTHER_SWAP

UPDATES = {
    "another": SOUND.replace("16GiB", "17GiB") + 'max = "70%"\nswappiness = 33\n',
    "without swap": NO_SWAP,
    "swap elsewhere": OTHER_SWAP,
}


def test_installing_can_be_undone(machine: Machine) -> None:
    before = machine.listing()
    steps = len(machine.plan(fetch=True).steps)
    assert steps > 15
    for count in range(1, steps + 1):
        machine.perform(machine.plan(fetch=True), count)
        assert machine.listing() != before
        machine.uninstall()
        assert machine.listing() == before


def test_installing_goes_on(machine: Machine) -> None:
    machine.install(fetch=True)
    whole = machine.listing()
    machine.uninstall()
    for count in range(1, len(machine.plan(fetch=True).steps)):
        machine.perform(machine.plan(fetch=True), count)
        machine.install(fetch=True)
        assert machine.listing() == whole
        machine.uninstall()


def installed(machine: Machine, update: str) -> None:
    """An installation that has been in use, and whose configuration was changed since."""
    machine.declare(SOUND)
    machine.install()
    machine.active.clear()
    machine.write(SWAP_FILE, "pages")
    machine.declare(UPDATES[update])


@pytest.mark.parametrize("update", UPDATES)
def test_updating_goes_on_and_can_be_undone(update: str, machine: Machine) -> None:
    before = machine.listing()
    installed(machine, update)
    steps = len(machine.plan().steps)
    assert steps > 4
    machine.install()
    whole = machine.listing()
    for goes_on in (False, True):
        for count in range(1, steps):
            machine.uninstall()
            machine.declare(SOUND)
            assert machine.listing() == before
            installed(machine, update)
            machine.perform(machine.plan(), count)
            machine.active.clear()
            if goes_on:
                machine.install()
                assert machine.listing() == whole
                assert machine.install().steps == ()


def test_uninstalling_goes_on(machine: Machine) -> None:
    before = machine.listing()
    steps = 0
    for count in range(1, 100):
        machine.install(fetch=True)
        machine.fill_state()
        machine.write(SWAP_FILE, "pages")
        removal = plan_uninstall(machine.host, delete_checkpoint=True)
        steps = len(removal.steps)
        if count == steps:
            break
        machine.perform(removal, count)
        machine.uninstall(delete_checkpoint=True)
        assert machine.listing() == before
    assert steps > 20


def test_an_uninstallation_that_stopped_can_be_installed_over(machine: Machine) -> None:
    machine.install()
    whole = machine.listing()
    for count in range(1, len(plan_uninstall(machine.host).steps)):
        machine.perform(plan_uninstall(machine.host), count)
        machine.install()
        assert machine.listing() == whole


@pytest.mark.parametrize("command", ["systemd-sysusers", "systemd-tmpfiles", "systemctl enable", "systemctl start"])
def test_a_failing_command_is_told_and_is_no_end(command: str, machine: Machine) -> None:
    before = machine.listing()
    machine.failing[command] = Done(65, "one\ntwo\n/etc/x:1: Bad line.\nlast words\n")
    with pytest.raises(PreflightError) as caught:
        machine.install()
    assert f"`{command}" in caught.value.found
    assert caught.value.found.endswith("failed with exit status 65: two; /etc/x:1: Bad line.; last words")
    assert caught.value.remedy == REMEDY
    manifest = read_manifest(machine.host)
    assert manifest is not None
    # Starting is not part of what is recorded.
    assert manifest.complete is (command == "systemctl start")
    machine.failing.clear()
    machine.install()
    assert machine.install().steps == ()
    machine.uninstall()
    assert machine.listing() == before


def test_a_program_that_is_missing_is_named(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    from rigappliance.install.host import run_command

    # A directory that this user may not search would be another matter.
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    done = run_command(["no-such-program", "x"])
    assert (done.status, done.output) == (127, "no-such-program is not installed")
    machine.failing["systemd-sysusers"] = done
    with pytest.raises(PreflightError, match="exit status 127: no-such-program is not installed"):
        machine.install()


def test_a_program_that_cannot_be_executed_is_named(tmp_path: Path) -> None:
    from rigappliance.install.host import run_command

    (tmp_path / "program").write_text("#!/bin/sh\n")
    done = run_command([str(tmp_path / "program")])
    assert (done.status, done.output) == (127, f"{tmp_path}/program cannot be executed: Permission denied")


def test_commands_see_no_variable_of_the_shell_and_find_roots_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    from rigappliance.install.host import run_command

    monkeypatch.setenv("RIGAPPLIANCE_CONFIG", "/nonsense")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    output = run_command(["env"]).output
    assert "RIGAPPLIANCE" not in output
    assert "/usr/sbin" in output


def test_a_command_is_shown_as_it_could_be_typed() -> None:
    assert Command(("env", "A=/a b", "x")).subject == "env 'A=/a b' x"

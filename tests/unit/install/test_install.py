"""What an installation writes and runs, and what it leaves alone."""

from __future__ import annotations

import os
import stat

import pytest

from rigappliance.configfile import load_config
from rigappliance.errors import PreflightError
from rigappliance.example import annotated_example
from rigappliance.install.declaration import Request
from rigappliance.install.manifest import read_manifest
from rigappliance.install.plan import plan_install
from rigappliance.install.report import lines, shown
from rigappliance.install.users import COMMENT
from rigappliance.render.plainhost import MODULES, SYSCTL, SYSUSERS, TMPFILES, host_files, sysusers
from rigappliance.render.systemd import CARDS, CONFIG_FILE, ENGINE, SWAP, WEIGHTS
from tests.unit.install.machine import CHECKPOINT, CONFIG, PROGRAM, SOUND, STATE, SWAP_FILE, UNITS, Machine

NO_SWAP = SOUND.replace("16GiB", "0B") + '[engine]\ndevice = "cpu"\ntensor_parallel = 1\n'
OTHER_SWAP = SOUND + 'swap_file = "/var/other.swap"\n'


def test_a_dry_run_changes_nothing_and_asks_only(machine: Machine) -> None:
    before = machine.listing()
    plan = plan_install(machine.host, Request(CONFIG), dry_run=True)
    assert len(shown(plan.steps)) > 10
    assert machine.listing() == before
    assert [command for command in machine.ran if "is-active" not in command] == []


def test_a_dry_run_shows_what_the_real_one_does(machine: Machine) -> None:
    text = lines((), plan_install(machine.host, Request(CONFIG), dry_run=True).steps, details=True)
    real = lines((), machine.install().steps, details=True)
    assert text == real


def test_writes_the_files_of_the_renderer_for_all_to_read(machine: Machine) -> None:
    # The shell of an operator may be stricter.
    os.umask(0o077)
    machine.install()
    expected = host_files(load_config(machine.at(CONFIG), environ={}), CONFIG, PROGRAM, systemd=257)
    assert {file.path.name for file in expected} >= {ENGINE, SWAP, CARDS, SYSUSERS.name, SYSCTL.name}
    for file in expected:
        assert machine.at(file.path).read_text() == file.text
        assert stat.S_IMODE(machine.at(file.path).stat().st_mode) == 0o644
    assert stat.S_IMODE(machine.at("/etc/systemd/system/rigappliance.target.wants").stat().st_mode) == 0o755


def test_runs_each_program_after_what_it_reads_is_there(machine: Machine) -> None:
    plan = machine.plan()
    assert machine.commands(lambda: machine.perform(plan)) == [
        f"systemd-sysusers {SYSUSERS}",
        f"systemd-tmpfiles --create {TMPFILES}",
        "modprobe nvidia-uvm",
        "systemctl daemon-reload",
        f"systemctl enable {ENGINE} rigappliance.target {SWAP} {CARDS}",
        f"systemctl start --no-block {ENGINE} rigappliance.target {SWAP} {CARDS}",
    ]
    kinds = [step.kind for step in plan.steps]
    assert kinds[0] == "record"
    assert max(i for i, kind in enumerate(kinds) if kind == "new") < kinds.index("run")
    assert machine.at("/proc/sys/vm/swappiness").read_text() == "10\n"


def test_the_user_of_the_manifest_is_the_one_of_sysusers(machine: Machine) -> None:
    """By this text an installation knows its own user again."""
    assert f'"{COMMENT}"' in sysusers(load_config(machine.at(CONFIG), environ={}))


def test_without_a_start_the_units_wait_for_the_next_boot(machine: Machine) -> None:
    ran = machine.commands(lambda: machine.install(start=False))
    assert not any("systemctl start" in command for command in ran)
    assert machine.at(UNITS / "multi-user.target.wants/rigappliance.target").is_symlink()


def test_the_download_is_a_unit_of_its_own_and_stays_asked_for(machine: Machine) -> None:
    machine.install(fetch=True)
    assert machine.at(UNITS / WEIGHTS).exists()
    assert machine.install().steps == ()
    machine.active.clear()
    ran = machine.commands(lambda: machine.install(fetch=False))
    assert ran[0] == f"systemctl disable --now {WEIGHTS}"
    assert not machine.at(UNITS / WEIGHTS).exists()


def test_a_second_installation_has_nothing_to_do(machine: Machine) -> None:
    machine.install()
    before = machine.listing()
    second = machine.plan()
    assert second.steps == ()
    assert {CONFIG, UNITS / ENGINE} & set(second.same) == {UNITS / ENGINE}
    assert machine.commands(lambda: machine.install()) == []
    assert machine.listing() == before


def test_installing_again_means_the_same_installation(machine: Machine) -> None:
    machine.install(profile="rig", fetch=True)
    assert machine.install(config=None).steps == ()


@pytest.mark.parametrize("lost", [SYSCTL, UNITS / SWAP, UNITS / "multi-user.target.wants/rigappliance.target", STATE])
def test_what_was_lost_comes_back(lost: object, machine: Machine) -> None:
    machine.install()
    before = machine.listing()
    place = machine.at(str(lost))
    if place.is_dir():
        (place / "models/tiny").rmdir()
        (place / "models").rmdir()
        place.rmdir()
    else:
        place.unlink()
    machine.install()
    assert machine.listing() == before


def test_a_stopped_engine_is_started_again(machine: Machine) -> None:
    machine.install()
    machine.active[ENGINE] = "failed"
    assert machine.commands(lambda: machine.install()) == [f"systemctl start --no-block {ENGINE}"]


def test_an_unloadable_module_is_a_note(machine: Machine) -> None:
    from rigappliance.install.host import Done

    machine.failing["modprobe"] = Done(1, "modprobe: FATAL: Module nvidia-uvm not found in directory /lib/modules\n")
    (note,) = machine.perform(machine.plan())
    assert "`modprobe nvidia-uvm` failed with exit status 1: modprobe: FATAL" in note


# --- the configuration -----------------------------------------------------


def test_the_example_is_written_where_no_configuration_is_named(machine: Machine) -> None:
    machine.install(config=None)
    assert machine.at(CONFIG_FILE).read_text() == annotated_example()
    assert f"--config {CONFIG_FILE} --profile rig" in machine.at(UNITS / ENGINE).read_text()


def test_a_configuration_that_is_there_is_never_written(machine: Machine) -> None:
    machine.write(CONFIG_FILE, SOUND)
    machine.install(config=None)
    assert machine.at(CONFIG_FILE).read_text() == SOUND
    machine.write(CONFIG_FILE, NO_SWAP)
    machine.active.clear()
    machine.install(config=None)
    assert machine.at(CONFIG_FILE).read_text() == NO_SWAP
    machine.uninstall()
    assert machine.at(CONFIG_FILE).read_text() == NO_SWAP


def test_the_example_goes_unless_it_was_edited(machine: Machine) -> None:
    machine.install(config=None)
    machine.uninstall()
    assert not machine.at(CONFIG_FILE).exists()
    machine.install(config=None)
    machine.write(CONFIG_FILE, SOUND)
    assert f"{CONFIG_FILE} stays: it was edited since it was installed" in machine.uninstall()
    assert machine.at(CONFIG_FILE).read_text() == SOUND


def test_the_example_is_the_operators_from_then_on(machine: Machine) -> None:
    machine.install(config=None)
    for text in (annotated_example(), SOUND):
        machine.write(CONFIG_FILE, text)
        machine.active.clear()
        assert not any(str(CONFIG_FILE) in note for note in machine.install(config=None).notes)
        assert machine.at(CONFIG_FILE).read_text() == text


@pytest.mark.parametrize("edited", [False, True])
def test_another_configuration_replaces_the_example(edited: bool, machine: Machine) -> None:
    machine.install(config=None)
    if edited:
        machine.write(CONFIG_FILE, SOUND)
    machine.active.clear()
    notes = machine.install().notes
    assert f"--config {CONFIG} " in machine.at(UNITS / ENGINE).read_text()
    assert machine.at(CONFIG_FILE).exists() is edited
    assert any(str(CONFIG_FILE) in note and "stays" in note for note in notes) is edited


def test_variables_of_the_shell_are_not_installed(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [step.detail() for step in machine.plan().steps]
    monkeypatch.setenv("RIGAPPLIANCE_MEMORY__MAX", "50%")
    monkeypatch.setenv("RIGAPPLIANCE_PROFILE", "demo")
    plan = machine.plan()
    assert [step.detail() for step in plan.steps] == expected
    machine.install()
    assert "\nMemoryMax=90%\n" in machine.at(UNITS / ENGINE).read_text()
    assert [note.split()[0] for note in plan.notes[:2]] == ["RIGAPPLIANCE_MEMORY__MAX", "RIGAPPLIANCE_PROFILE"]


def test_what_a_start_needs_and_is_not_there_is_noted(machine: Machine) -> None:
    machine.declare(SOUND + '[engine]\npython = "/opt/none/bin/python"\n[server]\napi_key_file = "/etc/key"\n')
    notes = "\n".join(machine.plan().notes)
    assert "server.api_key_file /etc/key is not there" in notes
    assert "engine.python /opt/none/bin/python is not there" in notes
    assert f"no checkpoint in {CHECKPOINT}: bring it there, or install with --fetch" in notes
    machine.write("/etc/key", "x")
    machine.write("/opt/none/bin/python", "")
    machine.write(CHECKPOINT / "config.json", "{}")
    assert machine.plan().notes == ()


# --- changes ---------------------------------------------------------------


def test_a_changed_configuration_changes_the_files(machine: Machine) -> None:
    machine.install()
    machine.declare(SOUND + 'max = "80%"\nswappiness = 20\n')
    plan = machine.plan()
    changed = {step.subject: step.detail() for step in plan.steps if step.kind == "change"}
    assert changed.keys() == {str(UNITS / ENGINE), str(SYSCTL)}
    assert "\n-MemoryMax=90%\n+MemoryMax=80%\n" in changed[str(UNITS / ENGINE)]
    machine.perform(plan)
    assert machine.at("/proc/sys/vm/swappiness").read_text() == "20\n"
    machine.uninstall()
    # As before the first of the two.
    assert machine.at("/proc/sys/vm/swappiness").read_text() == "60\n"


def test_what_runs_goes_on_as_it_is_and_is_named(machine: Machine) -> None:
    machine.install()
    machine.declare(SOUND + "[engine]\nmax_model_len = 2048\n")
    plan = machine.plan()
    assert plan.notes[-1] == f"{ENGINE} goes on as it was started: `systemctl restart {ENGINE}` brings the change"
    assert shown(plan.steps) == []
    machine.perform(plan)
    assert machine.plan().notes == plan.notes[:-1]


def test_a_configuration_without_swap_takes_all_of_it_away(machine: Machine) -> None:
    machine.install()
    machine.write(SWAP_FILE, "pages")
    machine.active = {SWAP: "active"}
    machine.declare(NO_SWAP)
    ran = machine.commands(lambda: machine.install())
    assert ran[:2] == [
        f"systemctl disable --now {SWAP} {CARDS}",
        f"env RIGAPPLIANCE_MEMORY__SWAP_FILE={SWAP_FILE} {PROGRAM} swap off --delete",
    ]
    for path in (UNITS / SWAP, UNITS / CARDS, SYSCTL, MODULES, SWAP_FILE):
        assert not machine.at(path).exists()
    assert machine.at("/proc/sys/vm/swappiness").read_text() == "60\n"
    assert machine.install().steps == ()


def test_another_swap_file_replaces_the_first(machine: Machine) -> None:
    machine.install()
    machine.write(SWAP_FILE, "pages")
    machine.active = {SWAP: "active"}
    machine.declare(OTHER_SWAP)
    ran = machine.commands(lambda: machine.install())
    assert ran[:2] == [
        f"systemctl stop {SWAP}",
        f"env RIGAPPLIANCE_MEMORY__SWAP_FILE={SWAP_FILE} {PROGRAM} swap off --delete",
    ]
    machine.write("/var/other.swap", "pages")
    assert any("/var/other.swap" in command for command in machine.commands(machine.uninstall))
    assert not machine.at("/var/other.swap").exists()


def test_an_edited_unit_is_not_left_behind(machine: Machine) -> None:
    """It would start at the next boot."""
    machine.install()
    machine.active.clear()
    machine.write(UNITS / SWAP, "[Service]\n")
    machine.declare(NO_SWAP)
    with pytest.raises(PreflightError, match="was edited since it was installed"):
        machine.install()


@pytest.mark.parametrize("text", [NO_SWAP, OTHER_SWAP])
def test_no_swap_file_is_taken_from_a_running_engine(text: str, machine: Machine) -> None:
    machine.install()
    machine.write(SWAP_FILE, "pages")
    machine.declare(text)
    before = machine.listing()
    with pytest.raises(PreflightError, match=r"the engine runs, with its pages in /var/lib/rigappliance\.swap"):
        machine.install()
    assert machine.listing() == before


def test_a_state_directory_that_moved_is_remembered(machine: Machine) -> None:
    machine.install()
    machine.fill_state()
    machine.active.clear()
    machine.declare(SOUND.replace("/var/lib/rigappliance", "/srv/state"))
    assert any("/var/lib/rigappliance, the state directory before, stays" in note for note in machine.install().notes)
    assert not any("state directory before" in note for note in machine.install().notes)
    machine.uninstall(delete_checkpoint=True)
    assert not machine.at(STATE).exists()
    assert not machine.at("/srv").exists()


def test_the_record_keeps_what_was_there_first(machine: Machine) -> None:
    machine.install()
    first = read_manifest(machine.host)
    machine.declare(SOUND + "swappiness = 30\n")
    machine.install()
    second = read_manifest(machine.host)
    assert first is not None
    assert second is not None
    assert second.parameters["vm.swappiness"].before == first.parameters["vm.swappiness"].before == "60"
    assert (second.directories, second.made_user) == (first.directories, True)

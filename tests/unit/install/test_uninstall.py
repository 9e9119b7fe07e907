"""Nothing is left of an installation, and nothing else is touched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rigappliance.errors import BusyError, NotRunningError, PreflightError
from rigappliance.install.host import Done
from rigappliance.install.manifest import DIRECTORY, MANIFEST
from rigappliance.install.report import lines
from rigappliance.install.uninstall import plan_uninstall
from rigappliance.launch.state import StateDirectory
from rigappliance.render.systemd import CARDS, ENGINE, SWAP
from tests.unit.install.machine import CHECKPOINT, CONFIG, PROGRAM, SOUND, STATE, SWAP_FILE, UNITS, Machine

# A checkpoint that is apart from the state.
APART = SOUND.replace("/var/lib/rigappliance/models", "/srv/models")


@pytest.fixture
def before(machine: Machine) -> dict[str, tuple[str, int, str]]:
    return machine.listing()


def used(machine: Machine, text: str = SOUND, **request: object) -> None:
    """An installation that has been in use."""
    machine.declare(text)
    machine.install(**request)
    machine.fill_state()
    machine.write(SWAP_FILE, "pages")


def test_nothing_is_left(machine: Machine, before: dict[str, tuple[str, int, str]]) -> None:
    used(machine, fetch=True)
    assert machine.uninstall(delete_checkpoint=True) == []
    assert machine.listing() == before


def test_directories_that_were_not_there_go_too(machine: Machine) -> None:
    for name in ("sysctl.d", "tmpfiles.d", "systemd/system/multi-user.target.wants"):
        (machine.root / "etc" / name).rmdir()
    before = machine.listing()
    used(machine)
    machine.uninstall(delete_checkpoint=True)
    assert machine.listing() == before


def test_in_this_order(machine: Machine) -> None:
    used(machine)
    ran = machine.commands(lambda: machine.uninstall())
    assert ran == [
        f"systemctl stop {ENGINE} rigappliance.target {SWAP} {CARDS}",
        f"systemctl disable {ENGINE} rigappliance.target {SWAP} {CARDS}",
        f"systemctl reset-failed {ENGINE} rigappliance.target {SWAP} {CARDS}",
        f"env RIGAPPLIANCE_MEMORY__SWAP_FILE={SWAP_FILE} {PROGRAM} swap off --delete",
        "systemctl daemon-reload",
        "userdel rigappliance",
    ]


def test_a_dry_run_changes_nothing_and_shows_the_same(machine: Machine) -> None:
    used(machine)
    before = machine.listing()
    dry = plan_uninstall(machine.host, dry_run=True)
    assert machine.listing() == before
    real = plan_uninstall(machine.host)
    assert lines((), dry.steps, details=True) == lines((), real.steps, details=True)


def test_nothing_installed(machine: Machine) -> None:
    with pytest.raises(NotRunningError, match="nothing is installed here"):
        machine.uninstall()


def test_twice(machine: Machine) -> None:
    used(machine)
    machine.uninstall()
    with pytest.raises(NotRunningError):
        machine.uninstall()


# --- what stays ------------------------------------------------------------


def test_the_checkpoint_stays_unless_it_is_asked_for(machine: Machine) -> None:
    used(machine)
    assert f"{CHECKPOINT}/ stays: the checkpoint; --delete-checkpoint removes it too" in machine.uninstall()
    left = {str(path.relative_to(machine.at(STATE))) for path in machine.at(STATE).rglob("*")}
    assert left == {"models", "models/tiny", "models/tiny/config.json", "models/tiny/model.safetensors"}
    # Nobody has the user's number now, and the next user may have another.
    assert machine.at(CHECKPOINT / "model.safetensors").stat().st_mode & 0o777 == 0o644
    assert machine.at(STATE).stat().st_mode & 0o777 == 0o755


def test_an_installation_over_a_checkpoint_that_stayed(machine: Machine) -> None:
    before = machine.listing()
    used(machine)
    machine.uninstall()
    machine.install()
    assert machine.uninstall(delete_checkpoint=True) == []
    assert machine.listing() == before


def test_an_empty_checkpoint_directory_is_none(machine: Machine, before: dict[str, tuple[str, int, str]]) -> None:
    machine.install()
    assert machine.uninstall() == []
    assert machine.listing() == before


@pytest.mark.parametrize("delete", [False, True])
def test_a_checkpoint_of_somebody_else_always_stays(delete: bool, machine: Machine) -> None:
    machine.write("/srv/models/tiny/config.json", "{}")
    used(machine, APART)
    assert "/srv/models/tiny/ stays: the checkpoint was brought there by other means" in machine.uninstall(
        delete_checkpoint=delete
    )
    assert machine.at("/srv/models/tiny/config.json").exists()
    assert not machine.at(STATE).exists()


@pytest.mark.parametrize("delete", [False, True])
def test_a_checkpoint_apart_that_was_fetched(delete: bool, machine: Machine) -> None:
    before = machine.listing()
    machine.declare(APART)
    machine.install(fetch=True)
    machine.write("/srv/models/tiny/config.json", "{}")
    notes = machine.uninstall(delete_checkpoint=delete)
    assert machine.at("/srv/models/tiny/config.json").exists() is not delete
    assert bool(notes) is not delete
    machine.declare(SOUND)
    assert not delete or machine.listing() == before


def test_the_state_stays_with_its_user_if_asked(machine: Machine) -> None:
    used(machine)
    notes = machine.uninstall(keep_state=True)
    assert notes == [f"{STATE}/ stays, as asked", "user and group rigappliance stay: the state is theirs"]
    assert machine.at(STATE / "cache/triton/a/b.so").exists()
    assert "rigappliance:" in machine.at("/etc/passwd").read_text()
    assert not machine.at(MANIFEST).exists()


def test_a_user_that_stayed_is_known_again(machine: Machine, before: dict[str, tuple[str, int, str]]) -> None:
    used(machine)
    machine.uninstall(keep_state=True)
    machine.install()
    machine.uninstall(delete_checkpoint=True)
    assert machine.listing() == before


def test_a_user_that_was_there_stays(machine: Machine) -> None:
    machine.write("/etc/passwd", "rigappliance:x:1000:1000:Someone:/home/rigappliance:/bin/bash\n")
    used(machine)
    assert "user and group rigappliance stay: they were there before the installation" in machine.uninstall()
    assert "Someone" in machine.at("/etc/passwd").read_text()


def test_a_swap_file_that_was_there_stays(machine: Machine) -> None:
    machine.write(SWAP_FILE, "pages")
    used(machine)
    assert f"{SWAP_FILE} stays: it was there before the installation" in machine.uninstall()
    assert machine.at(SWAP_FILE).exists()


def test_a_swap_file_that_is_begun_goes(machine: Machine) -> None:
    machine.install()
    machine.write(f"{SWAP_FILE}.partial", "pages")
    machine.write(SWAP_FILE, "")
    machine.at(SWAP_FILE).unlink()
    machine.failing["env RIG"] = Done(0, "")
    ran = machine.commands(lambda: machine.uninstall())
    assert f"env RIGAPPLIANCE_MEMORY__SWAP_FILE={SWAP_FILE} {PROGRAM} swap off --delete" in ran


def test_edited_files_and_drop_ins_stay(machine: Machine) -> None:
    used(machine)
    machine.write(UNITS / ENGINE, "[Service]\n")
    machine.write(UNITS / f"{ENGINE}.d/override.conf", "[Service]\n")
    notes = machine.uninstall()
    assert f"{UNITS / ENGINE} stays: it was edited since it was installed" in notes
    assert f"{UNITS / ENGINE}.d/ stays: it is not the installation's" in notes
    assert machine.at(UNITS / ENGINE).read_text() == "[Service]\n"
    # It is kept, and does not start at the next boot.
    assert not machine.at(UNITS / f"rigappliance.target.wants/{ENGINE}").is_symlink()


def test_a_file_that_is_edited_at_the_last_moment_stays(machine: Machine) -> None:
    used(machine)
    removal = plan_uninstall(machine.host)
    machine.write(UNITS / ENGINE, "[Service]\n")
    assert f"{UNITS / ENGINE} stays: it was edited meanwhile" in machine.perform(removal)
    assert machine.at(UNITS / ENGINE).read_text() == "[Service]\n"


def test_a_directory_that_others_use_now_stays(machine: Machine) -> None:
    (machine.root / "etc/tmpfiles.d").rmdir()
    used(machine)
    machine.write("/etc/tmpfiles.d/other.conf", "")
    assert "/etc/tmpfiles.d/ stays: there is something in it" in machine.uninstall()
    assert machine.at("/etc/tmpfiles.d/other.conf").exists()


def test_a_parameter_that_was_set_meanwhile_stays(machine: Machine) -> None:
    used(machine)
    machine.write("/proc/sys/vm/swappiness", "1\n")
    notes = machine.uninstall()
    assert any(note.startswith("vm.swappiness stays 1: it was set meanwhile") for note in notes)
    assert machine.at("/proc/sys/vm/swappiness").read_text() == "1\n"
    assert machine.at("/proc/sys/vm/page-cluster").read_text() == "3\n"


# --- what the service's user may have left ---------------------------------


def test_links_are_removed_and_not_followed(machine: Machine, tmp_path: Path) -> None:
    used(machine)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    (machine.at(STATE) / "cache/link").symlink_to(outside)
    (machine.at(STATE) / "link").symlink_to(outside / "precious")
    machine.uninstall(delete_checkpoint=True)
    assert (outside / "precious").read_text() == "x"
    assert not machine.at(STATE).exists()


def test_a_link_in_place_of_the_models_leads_nowhere(machine: Machine, tmp_path: Path) -> None:
    used(machine)
    outside = tmp_path / "outside"
    machine.at(STATE / "models").rename(outside)
    machine.at(STATE / "models").symlink_to(outside)
    notes = machine.uninstall(delete_checkpoint=True)
    assert f"{CHECKPOINT} stays: a link leads there" in notes
    assert (outside / "tiny/config.json").exists()


def test_a_link_to_a_checkpoint_that_stays_is_kept(machine: Machine, tmp_path: Path) -> None:
    used(machine)
    outside = tmp_path / "outside"
    machine.at(STATE / "models").rename(outside)
    machine.at(STATE / "models").symlink_to(outside)
    machine.uninstall()
    assert machine.at(CHECKPOINT / "config.json").exists()


def test_files_with_another_name_elsewhere_keep_their_mode(machine: Machine, tmp_path: Path) -> None:
    used(machine)
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0o600)
    os.link(secret, machine.at(CHECKPOINT / "tokenizer.json"))
    machine.uninstall()
    assert secret.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mount", [STATE, STATE / "cache", STATE / "models", CHECKPOINT])
def test_mounted_file_systems_stay_mounted(mount: Path, machine: Machine) -> None:
    used(machine)
    with machine.at("/proc/self/mountinfo").open("a") as file:
        file.write(f"30 22 8:17 / {mount} rw - ext4 /dev/sdb1 rw\n")
    notes = machine.uninstall(delete_checkpoint=True)
    assert any(note.startswith(f"{mount}/ stays: a file system is mounted there") for note in notes)
    assert machine.at(mount).is_dir()
    # The checkpoint is what was asked for by name; the rest of another file system is not.
    assert not machine.at(CHECKPOINT / "config.json").exists()
    assert machine.at(STATE / "cache/triton/a/b.so").exists() is (mount.name == "cache")


# --- and what forbids it ---------------------------------------------------


def test_a_launch_by_hand_is_not_pulled_from_under(machine: Machine) -> None:
    used(machine)
    directory = StateDirectory(machine.at(STATE))
    directory.acquire()
    try:
        with pytest.raises(BusyError, match="is in use by another launch"):
            machine.uninstall()
        assert machine.at(SWAP_FILE).exists()
        assert machine.at(UNITS / ENGINE).exists()
    finally:
        directory.release()
    machine.uninstall(delete_checkpoint=True)


def test_swap_that_cannot_be_taken_back_ends_it_before_anything_goes(machine: Machine) -> None:
    used(machine)
    machine.failing["env RIG"] = Done(4, "rigappliance: swapoff failed: Cannot allocate memory\n")
    with pytest.raises(PreflightError, match=r"swap off --delete` failed with exit status 4: .*Cannot allocate memory"):
        machine.uninstall()
    assert machine.at(UNITS / SWAP).exists()
    assert machine.at(CONFIG).exists()
    machine.failing.clear()
    machine.uninstall()
    assert not machine.at(DIRECTORY).exists()

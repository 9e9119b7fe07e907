"""What `rigappliance uninstall` would do on this host, as steps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from rigappliance.errors import NotRunningError
from rigappliance.install.files import content, part_of
from rigappliance.install.host import Host
from rigappliance.install.manifest import MANIFEST, Checkpoint, Manifest, digest, read_manifest
from rigappliance.install.parameters import restore
from rigappliance.install.requirements import check_root, check_running
from rigappliance.install.steps import Command, Plain, RemoveDirectory, RemoveFile, RemoveManifest, Step
from rigappliance.install.swap import swap_off
from rigappliance.install.trees import Disown, RemoveTree
from rigappliance.install.users import group_entry, uid_of, user_entry
from rigappliance.launch.state import StateDirectory
from rigappliance.render.plainhost import UNIT_DIRECTORY
from rigappliance.render.systemd import USER


@dataclass(frozen=True)
class Removal:
    """``notes`` name what stays."""

    steps: tuple[Step, ...]
    notes: tuple[str, ...]


def plan_uninstall(
    host: Host, *, keep_state: bool = False, delete_checkpoint: bool = False, dry_run: bool = False
) -> Removal:
    """All that an uninstallation would do; nothing is changed.

    Raises ``NotRunningError`` where nothing is installed, and ``PreflightError``
    where it is not root's to do.
    """
    manifest = read_manifest(host)
    if manifest is None:
        raise NotRunningError(
            f"nothing is installed here: there is no {MANIFEST}",
            "an appliance that `rigappliance install` installed",
            "nothing, if that is what you wanted",
        )
    if not dry_run:
        check_root(host, "uninstall")
        check_running(host)
    there = [name for name in manifest.units if host.at(UNIT_DIRECTORY / name).exists()]
    swap = swap_off(host, manifest.swaps)
    files, edited = file_steps(host, manifest)
    parameters, kept_parameters = restore(host, manifest.parameters)
    trees = tree_steps(host, manifest, keep_state, delete_checkpoint)
    users, kept_users = user_steps(host, manifest, keep_state)
    steps: list[Step] = [
        *stop_steps(host, there),
        *(NoLaunch(path) for path in manifest.state_dirs),
        *swap.steps,
        *files,
        Command(("systemctl", "daemon-reload")),
        *parameters,
        *trees.steps,
        *directory_steps(host, manifest, trees.kept),
        *users,
        RemoveManifest(),
    ]
    drop_ins = [
        f"{path}/ stays: it is not the installation's"
        for name in manifest.units
        if host.at(path := UNIT_DIRECTORY / f"{name}.d").is_dir()
    ]
    return Removal(tuple(steps), (*swap.notes, *edited, *drop_ins, *kept_parameters, *trees.notes, *kept_users))


@dataclass(frozen=True)
class NoLaunch(Plain):
    """A launch by hand would lose the ground under its feet."""

    state_dir: Path
    kind: ClassVar[str] = "check"

    @property
    def subject(self) -> str:
        return f"that no launch by hand runs in {self.state_dir}"

    def act(self, host: Host) -> None:
        """Raises ``BusyError``."""
        if host.at(self.state_dir / "lock").exists():
            directory = StateDirectory(host.at(self.state_dir))
            directory.acquire()
            directory.release()


def stop_steps(host: Host, there: list[str]) -> list[Step]:
    """Stop and disable the units whose files are there; the others were never loaded."""
    if not there:
        return []
    # A link counts wherever it leads.
    wants = list(host.at(UNIT_DIRECTORY).glob("*.wants"))
    enabled = [name for name in there if any((directory / name).is_symlink() for directory in wants)]
    steps: list[Step] = [Command(("systemctl", "stop", *there))]
    if enabled:
        steps.append(Command(("systemctl", "disable", *enabled)))
    # What is not loaded any more has nothing to be reset, which counts as a failure.
    return [*steps, Command(("systemctl", "reset-failed", *there), failure="nothing")]


def file_steps(host: Host, manifest: Manifest) -> tuple[list[Step], list[str]]:
    """Files that are as they were installed go; others are somebody's work."""
    steps: list[Step] = []
    kept = []
    for path, ours in manifest.files.items():
        text = content(host.at(path))
        if text is not None and digest(text) not in ours:
            kept.append(f"{path} stays: it was edited since it was installed")
        elif text is not None or host.at(part_of(path)).exists():
            steps.append(RemoveFile(path, ours))
    return steps, kept


def directory_steps(host: Host, manifest: Manifest, kept: tuple[Path, ...]) -> list[Step]:
    """Directories that hold nothing any more, the innermost first."""
    return [
        RemoveDirectory(path)
        for path in reversed(manifest.directories)
        if host.at(path).is_dir() and not any(below.is_relative_to(path) for below in kept)
    ]


@dataclass(frozen=True)
class Trees:
    """``kept``: what stays of state and checkpoints, with a note each."""

    steps: tuple[Step, ...]
    notes: tuple[str, ...]
    kept: tuple[Path, ...]


def tree_steps(host: Host, manifest: Manifest, keep_state: bool, delete_checkpoint: bool) -> Trees:
    """State directories and checkpoints, and what stays of them."""
    if keep_state:
        made = [checkpoint.path for checkpoint in manifest.checkpoints if checkpoint.made]
        places = [path for path in (*manifest.state_dirs, *made) if host.at(path).is_dir()]
        return Trees((), tuple(f"{path}/ stays, as asked" for path in places), tuple(places))
    steps: list[Step] = []
    notes, kept = [], []
    for checkpoint in manifest.checkpoints:
        base = base_of(checkpoint, manifest)
        holds = holds_something(host.at(checkpoint.path))
        if base is None:
            stays = "the checkpoint was brought there by other means"
            notes += [f"{checkpoint.path}/ stays: {stays}"] if holds else []
        elif delete_checkpoint or not holds:
            steps.append(RemoveTree(checkpoint.path, base))
        else:
            kept.append(checkpoint.path)
            steps.append(Disown(checkpoint.path, base, uid_of(host, USER)))
            notes.append(f"{checkpoint.path}/ stays: the checkpoint; --delete-checkpoint removes it too")
    for state in manifest.state_dirs:
        keep = tuple(path for path in kept if path.is_relative_to(state))
        if state not in keep:
            steps.append(RemoveTree(state, state, keep))
    return Trees(tuple(steps), tuple(notes), tuple(kept))


def base_of(checkpoint: Checkpoint, manifest: Manifest) -> Path | None:
    """The directory down to which everything is root's, or ``None`` for a checkpoint that is not the installation's."""
    state = next((path for path in manifest.state_dirs if checkpoint.path.is_relative_to(path)), None)
    return state or (checkpoint.path if checkpoint.made else None)


def holds_something(directory: Path) -> bool:
    try:
        return any(directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return False
    except PermissionError:
        # Only a dry run can meet this.
        return True


def user_steps(host: Host, manifest: Manifest, keep_state: bool) -> tuple[list[Step], list[str]]:
    """The user goes with the last of its files."""
    there = [name for name, entry in (("user", user_entry), ("group", group_entry)) if entry(host, USER) is not None]
    if not there:
        return [], []
    if keep_state:
        return [], [f"{' and '.join(there)} {USER} stay: the state is theirs"]
    if not manifest.made_user:
        return [], [f"{' and '.join(there)} {USER} stay: they were there before the installation"]
    return [RemoveAccount(manifest.made_group)], []


@dataclass(frozen=True)
class RemoveAccount(Plain):
    """userdel(8) takes the group along, unless the distribution is told otherwise."""

    group: bool
    kind: ClassVar[str] = "run"

    @property
    def subject(self) -> str:
        return f"userdel {USER}" + (f", and groupdel {USER} if there is still the group" if self.group else "")

    def act(self, host: Host) -> None:
        if user_entry(host, USER) is not None:
            Command(("userdel", USER)).act(host)
        if self.group and group_entry(host, USER) is not None:
            Command(("groupdel", USER)).act(host)

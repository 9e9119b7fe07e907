"""Whether the state directory, which gets an owner and can be removed as a whole, belongs to nothing else."""

from __future__ import annotations

from pathlib import Path

from rigappliance.config import RigConfig
from rigappliance.errors import PreflightError
from rigappliance.install.host import Host
from rigappliance.install.users import uid_of
from rigappliance.render.systemd import USER

# What launches by hand leave there, some with a further ending.
OWN_NAMES = ("lock", "state.", "history.", "failures.", "compact", "reserve", "engine.log", "cache", "tmp")
# One of these is in every checkpoint, or in one whose download was interrupted.
CHECKPOINT_NAMES = frozenset({"config.json", ".cache", "model.safetensors.index.json"})


def check_directories(host: Host, config: RigConfig, fetch: bool) -> None:
    """Raises ``PreflightError`` for a directory that the installation would take from somebody else."""
    state, model = config.state_dir.absolute(), config.model.path.absolute()
    inside = model.is_relative_to(state) and model != state
    own = (*OWN_NAMES, model.relative_to(state).parts[0]) if inside else OWN_NAMES
    foreign = [name for name in foreign_names(host, "state_dir", state) if not name.startswith(own)]
    if foreign:
        raise in_use("state_dir", state, foreign)
    if fetch and not model.is_relative_to(state):
        names = foreign_names(host, "model.path", model)
        if names and not CHECKPOINT_NAMES & set(names):
            raise in_use("model.path", model, names)


def in_use(key: str, path: Path, names: list[str]) -> PreflightError:
    return PreflightError(
        f"{key} {path} is in use for something else: {', '.join(sorted(names)[:3])}",
        f"a directory of its own, which user {USER} gets",
        f"set {key} to a directory that is empty or not there",
    )


def foreign_names(host: Host, key: str, path: Path) -> list[str]:
    """What lies in a directory that is not the service's already. Raises ``PreflightError`` for an owner to keep."""
    directory = host.at(path)
    if len(path.parts) < 3:
        raise PreflightError(
            f"{key} is {path}, which belongs to the system",
            "a directory of its own",
            f"set {key} to one further down, such as {path / 'rigappliance'}",
        )
    if directory.is_symlink():
        raise PreflightError(
            f"{key} {path} is a symbolic link", "a directory, or nothing", f"set {key} to {directory.readlink()}"
        )
    if not directory.exists():
        return []
    if not directory.is_dir():
        raise PreflightError(f"{key} {path} is no directory", "a directory, or nothing", f"set {key}, or move it away")
    uid = directory.stat().st_uid
    if uid == uid_of(host, USER):
        return []
    if uid not in (0, host.owner):
        raise PreflightError(
            f"{key} {path} belongs to user {uid}",
            f"a directory that is root's or not there, and that user {USER} gets",
            f"set {key} to another directory, or `chown root {path}`",
        )
    try:
        return [entry.name for entry in directory.iterdir()]
    except PermissionError:
        # Only a dry run can meet this.
        return []

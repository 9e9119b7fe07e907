"""Whether anybody but root could change what root's units read and execute.

The swap unit runs as root: whoever may write its configuration chooses the file
that root makes and deletes, and whoever may write the program is root at the next
boot.
"""

from __future__ import annotations

import stat
from pathlib import Path

from rigappliance.errors import PreflightError
from rigappliance.install.host import Host

# With PrivateTmp= the services see directories of their own there.
TEMPORARY = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108 - compared with, not written to


def check_configuration(host: Host, file: Path) -> None:
    """Raises ``PreflightError`` where somebody else could change the configuration ``file``, which exists."""
    weak = weak_link(host, file)
    if weak is not None:
        raise PreflightError(
            f"{weak} can be changed by others than root, and root's units read {file}",
            "a file in directories that belong to root and that only root may write to",
            f"install -D -o root -g root -m 0644 {file} /etc/rigappliance/rig.toml, and install without --config",
        )


def check_program(host: Host) -> None:
    """Raises ``PreflightError`` where there is no program to call, or where somebody else could change it."""
    if not host.at(host.program).exists():
        raise PreflightError(
            f"there is no command {host.program}",
            "an installed rigappliance, which the units can call",
            "install it as root: python3 -m venv /opt/rigappliance/control, "
            "then /opt/rigappliance/control/bin/pip install with the directory of rigappliance",
        )
    for path in host.code:
        weak = weak_link(host, path)
        if weak is not None:
            raise PreflightError(
                f"{weak} can be changed by others than root, and root's units execute {path}",
                "a program in directories that belong to root and that only root may write to",
                "install rigappliance as root, for example into a virtual environment at /opt/rigappliance/control, "
                "and call that one",
            )


def check_visible(named: dict[str, Path]) -> None:
    """Raises ``PreflightError`` for the first of the paths, by their names, that the services could not see."""
    for name, path in named.items():
        place = next((place for place in TEMPORARY if path.is_relative_to(place)), None)
        if place is not None:
            raise PreflightError(
                f"{name} is {path}: the services have a {place} of their own",
                "a path elsewhere, such as below /opt, /srv or /var/lib",
                "move it, and name the new place",
            )


def weak_link(host: Host, path: Path) -> Path | None:
    """The first part of ``path``, as given or with its links resolved, that others than root may change."""
    for chain in (path, resolved(host, path)):
        for part in [*reversed(chain.parents), chain]:
            try:
                status = host.at(part).lstat()
            except FileNotFoundError:
                break
            if changeable(status.st_mode, status.st_uid, status.st_gid, host.owner):
                return part
    return None


def resolved(host: Host, path: Path) -> Path:
    """``path`` of the host without symbolic links; as it is where they lead out of a stand-in for the host."""
    target = host.at(path).resolve()
    return Path("/") / target.relative_to(host.root) if target.is_relative_to(host.root) else path


def changeable(mode: int, uid: int, gid: int, owner: int) -> bool:
    if uid not in (0, owner):
        return True
    # The mode of a link means nothing, and in a sticky directory everybody keeps to their own files.
    if stat.S_ISLNK(mode) or (stat.S_ISDIR(mode) and mode & stat.S_ISVTX):
        return False
    return bool(mode & stat.S_IWOTH) or bool(mode & stat.S_IWGRP and gid != 0)

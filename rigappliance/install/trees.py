"""The state directory and the checkpoint: removed, or left to root.

Their content is the service user's own, who may have put links anywhere. So no
link is followed, and nothing is removed that lies on another file system than it
seems to.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from rigappliance.facts.host import parse_mountinfo, read_text
from rigappliance.install.host import Host
from rigappliance.install.steps import Plain

DIRECTORY_ONLY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True)
class RemoveTree(Plain):
    """``path``, which is ``base`` or below it, with all that is in it but ``keep``.

    ``base`` is in directories of root's; what lies below it is not trusted.
    """

    path: Path
    base: Path
    keep: tuple[Path, ...] = ()
    kind: ClassVar[str] = "remove"

    @property
    def subject(self) -> str:
        but = f" but {', '.join(map(str, self.keep))}" if self.keep else ""
        return f"{self.path}/ with all that is in it{but}"

    def act(self, host: Host) -> str | None:
        place = host.at(self.base)
        if not os.path.lexists(place):
            return None
        if place.is_symlink() or not place.is_dir():
            return f"{self.base} stays: it is no directory, but leads elsewhere or is a file"
        stays: list[str] = []
        mounts = mount_points(host)
        try:
            with opened(place, self.path.relative_to(self.base).parts) as fd:
                empty = clear(fd, self.path, self.keep, mounts, stays)
        except FileNotFoundError:
            return None
        except NotADirectoryError:
            return f"{self.path} stays: a link leads there"
        if self.path in mounts:
            stays.append(f"{self.path}/ stays: a file system is mounted there")
        elif empty:
            self.remove_empty(place)
        return "; ".join(stays) or None

    def remove_empty(self, place: Path) -> None:
        *above, name = (place.name, *self.path.relative_to(self.base).parts)
        with opened(place.parent, tuple(above)) as fd:
            os.rmdir(name, dir_fd=fd)


def mount_points(host: Host) -> frozenset[Path]:
    text = read_text(host.at(Path("/proc/self/mountinfo"))) or ""
    return frozenset(Path(mount.point) for mount in parse_mountinfo(text))


@contextmanager
def opened(base: Path, parts: tuple[str, ...]) -> Iterator[int]:
    """A descriptor of the directory that ``parts`` lead to without any link. Raises ``OSError`` where there is one."""
    fd = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts:
            inner = os.open(part, DIRECTORY_ONLY, dir_fd=fd)
            os.close(fd)
            fd = inner
        yield fd
    finally:
        os.close(fd)


def clear(fd: int, path: Path, keep: tuple[Path, ...], mounts: frozenset[Path], stays: list[str]) -> bool:
    """Remove what is in the directory ``fd``, which is ``path``, and say whether it is empty now."""
    with os.scandir(fd) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    empty = True
    for name, is_directory in found:
        child = path / name
        wanted = child in keep or (not is_directory and any(kept.is_relative_to(child) for kept in keep))
        if wanted:
            empty = False
        elif not is_directory:
            os.unlink(name, dir_fd=fd)
        elif child in mounts:
            empty = False
            stays.append(f"{child}/ stays: a file system is mounted there")
        elif clear_child(fd, child, keep, mounts, stays):
            os.rmdir(name, dir_fd=fd)
        else:
            empty = False
    return empty


def clear_child(fd: int, child: Path, keep: tuple[Path, ...], mounts: frozenset[Path], stays: list[str]) -> bool:
    inner = os.open(child.name, DIRECTORY_ONLY, dir_fd=fd)
    try:
        return clear(inner, child, keep, mounts, stays)
    finally:
        os.close(inner)


@dataclass(frozen=True)
class Disown(Plain):
    """A checkpoint that stays is root's and for everybody to read, so that no later user inherits it by number."""

    path: Path
    base: Path
    uid: int | None
    kind: ClassVar[str] = "chown"

    @property
    def subject(self) -> str:
        return f"{self.path}/ to root"

    def act(self, host: Host) -> str | None:
        parts = self.path.relative_to(self.base).parts
        try:
            for depth in range(len(parts)):
                with opened(host.at(self.base), parts[:depth]) as fd:
                    self.give(host, fd)
            with opened(host.at(self.base), parts) as fd:
                self.give_all(host, fd)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return None

    def give(self, host: Host, fd: int) -> None:
        """What is the service user's and has no other name, which might be somebody else's file."""
        status = os.fstat(fd)
        single = stat.S_ISDIR(status.st_mode) or status.st_nlink == 1
        if status.st_uid == self.uid and single:
            os.fchown(fd, host.owner, host.group)
            os.fchmod(fd, 0o755 if stat.S_ISDIR(status.st_mode) else 0o644)

    def give_all(self, host: Host, fd: int) -> None:
        self.give(host, fd)
        with os.scandir(fd) as entries:
            found = [(e.name, e.is_dir(follow_symlinks=False), e.is_file(follow_symlinks=False)) for e in entries]
        for name, is_directory, is_file in found:
            if not is_directory and not is_file:
                continue
            flags = DIRECTORY_ONLY if is_directory else os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            inner = os.open(name, flags, dir_fd=fd)
            try:
                if is_directory:
                    self.give_all(host, inner)
                else:
                    self.give(host, inner)
            finally:
                os.close(inner)

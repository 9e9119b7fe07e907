"""What an installation consists of, one small change each, carried out in order.

A step says in one line what it does, so that a dry run shows exactly what the real
thing would do. ``act`` returns a note where something is not as it would be, and
raises ``CommandError``, ``OSError`` or a ``RigError`` where it cannot go on.
"""

from __future__ import annotations

import difflib
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Protocol

from rigappliance.facts.host import one_line
from rigappliance.install import files
from rigappliance.install.host import Host
from rigappliance.install.manifest import DIRECTORY, MANIFEST, Manifest, digest, to_text

# Of what a failing command says.
LAST_LINES = 3


class CommandError(Exception):
    """A command failed; the text says which, how, and what it said."""


class Step(Protocol):
    @property
    def kind(self) -> str:
        """What is done, in one word."""

    @property
    def subject(self) -> str:
        """What it is done to."""

    def detail(self) -> str:
        """More for a dry run: a difference, or nothing."""

    def act(self, host: Host) -> str | None: ...


class Plain:
    """A step without more to show."""

    def detail(self) -> str:
        return ""


@dataclass(frozen=True)
class WriteFile:
    """``old`` is the content that is there, ``None`` for no file."""

    path: Path
    text: str
    old: str | None

    @property
    def kind(self) -> str:
        return "new" if self.old is None else "change"

    @property
    def subject(self) -> str:
        return str(self.path)

    def detail(self) -> str:
        if self.old is None:
            return ""
        before, after = self.old.splitlines(keepends=True), self.text.splitlines(keepends=True)
        return "".join(difflib.unified_diff(before, after, f"{self.path} (now)", f"{self.path} (then)"))

    def act(self, host: Host) -> None:
        files.write_whole(host.at(self.path), self.text)


@dataclass(frozen=True)
class RemoveFile(Plain):
    """``ours``: digests of the contents that may go."""

    path: Path
    ours: tuple[str, ...]
    kind: ClassVar[str] = "remove"

    @property
    def subject(self) -> str:
        return str(self.path)

    def act(self, host: Host) -> str | None:
        text = files.content(host.at(self.path))
        if text is not None and digest(text) not in self.ours:
            return f"{self.path} stays: it was edited meanwhile"
        files.remove(host.at(self.path))
        return None


@dataclass(frozen=True)
class MakeDirectory(Plain):
    path: Path
    kind: ClassVar[str] = "new"

    @property
    def subject(self) -> str:
        return f"{self.path}/"

    def act(self, host: Host) -> None:
        directory = host.at(self.path)
        directory.mkdir(exist_ok=True)
        directory.chmod(0o755)


@dataclass(frozen=True)
class RemoveDirectory(Plain):
    """Only if nothing is in it."""

    path: Path
    kind: ClassVar[str] = "remove"

    @property
    def subject(self) -> str:
        return f"{self.path}/, if it is empty"

    def act(self, host: Host) -> str | None:
        directory = host.at(self.path)
        if directory.is_dir() and any(directory.iterdir()):
            return f"{self.path}/ stays: there is something in it"
        if directory.is_dir():
            directory.rmdir()
        return None


@dataclass(frozen=True)
class SetParameter(Plain):
    """A parameter of the kernel, by its name in sysctl(8)."""

    name: str
    old: str
    new: str
    kind: ClassVar[str] = "set"

    @property
    def subject(self) -> str:
        return f"{self.name} {self.old} → {self.new}"

    def act(self, host: Host) -> None:
        write_parameter(host, self.name, self.new)


@dataclass(frozen=True)
class Command(Plain):
    """``failure``: what it means when it fails."""

    argv: tuple[str, ...]
    failure: Literal["error", "note", "nothing"] = "error"
    kind: ClassVar[str] = "run"

    @property
    def subject(self) -> str:
        return shlex.join(self.argv)

    def act(self, host: Host) -> str | None:
        done = host.run(self.argv)
        if done.status == 0 or self.failure == "nothing":
            return None
        said = "; ".join(line.strip() for line in done.output.strip().splitlines()[-LAST_LINES:])
        failed = f"`{self.subject}` failed with exit status {done.status}: {said or 'it said nothing'}"
        if self.failure == "note":
            return failed
        raise CommandError(failed)


@dataclass(frozen=True)
class SaveManifest(Plain):
    manifest: Manifest
    kind: ClassVar[str] = "record"
    subject: ClassVar[str] = str(MANIFEST)

    def act(self, host: Host) -> None:
        host.at(DIRECTORY).mkdir(exist_ok=True)
        host.at(DIRECTORY).chmod(0o755)
        # A file in a directory that a power cut takes back is lost with it.
        files.sync_directory(host.at(DIRECTORY).parent)
        files.write_whole(host.at(MANIFEST), to_text(self.manifest))


@dataclass(frozen=True)
class RemoveManifest(Plain):
    kind: ClassVar[str] = "remove"
    subject: ClassVar[str] = str(MANIFEST)

    def act(self, host: Host) -> str | None:
        files.remove(host.at(MANIFEST))
        return RemoveDirectory(DIRECTORY).act(host)


def parameter_path(host: Host, name: str) -> Path:
    return host.at(Path("/proc/sys") / name.replace(".", "/"))


def read_parameter(host: Host, name: str) -> str | None:
    """The value now, ``None`` where this kernel or container has no such parameter."""
    return one_line(parameter_path(host, name))


def write_parameter(host: Host, name: str, value: str) -> None:
    # The kernel takes a value in one write, and there is nothing to replace.
    parameter_path(host, name).write_text(f"{value}\n", encoding="ascii")

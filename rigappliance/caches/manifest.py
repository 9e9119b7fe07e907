"""The list of a cache's files, which vouches for them: what is not on it is not used."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from rigappliance.caches.identity import Identity
from rigappliance.launch.state import NONSENSE

NAME = "manifest.json"
SCHEMA = 2
# More names than any cache has; a file from elsewhere may claim what it likes.
LIMIT_BYTES = 64 << 20


@dataclass(frozen=True)
class FileRecord:
    """``mtime_ns`` is what a file had when its digest was taken, ``setup`` that of the last start that used it."""

    size_bytes: int
    mtime_ns: int
    sha256: str
    setup: str


@dataclass(frozen=True)
class Setup:
    """Whom a file belongs to. ``used`` is when a start of it was last ready, in seconds since the epoch; ``first_s``
    are the seconds by phase of its first start."""

    key: str
    name: str
    used: float
    first_s: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """``identity`` is that of the last start, ``made`` in seconds since the epoch. ``filled_s`` and ``last_s`` are
    seconds by phase of its first start, and of the last one that got ready."""

    identity: Identity
    made: float
    files: Mapping[str, FileRecord]
    setups: Mapping[str, Setup]
    filled_s: Mapping[str, float] = field(default_factory=dict)
    last_s: Mapping[str, float] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return self.identity.key

    @property
    def size_bytes(self) -> int:
        return sum(record.size_bytes for record in self.files.values())

    def as_text(self) -> str:
        return json.dumps({"schema": SCHEMA, "key": self.key, **asdict(self)}, indent=1) + "\n"


class NoManifestError(ValueError):
    """Says in a clause what is wrong with one."""


def manifest_from(text: str | bytes) -> Manifest:
    """Raises ``NoManifestError`` for anything but a whole manifest whose names stay inside their directory."""
    try:
        content = json.loads(text)
        if content["schema"] != SCHEMA:
            raise NoManifestError(f"has the form {content['schema']!r}, which this version does not know")
        files = {safe_name(name): FileRecord(**record) for name, record in content["files"].items()}
        setups = {str(name): setup_from(tree) for name, tree in content["setups"].items()}
        for record in files.values():
            check_record(record)
            if record.setup not in setups:
                raise NoManifestError("is not a whole manifest")
        identity = Identity(texts(content["identity"]["fields"]), texts(content["identity"]["settings"]))
        manifest = Manifest(
            identity, float(content["made"]), files, setups, numbers(content["filled_s"]), numbers(content["last_s"])
        )
    except NoManifestError:
        raise
    except NONSENSE as error:
        raise NoManifestError("is not a whole manifest") from error
    if content.get("key") != manifest.key:
        raise NoManifestError("has a key that is not that of its content")
    return manifest


def safe_name(name: str) -> str:
    """Raises ``NoManifestError`` for a name that leads out of the directory, or that could be written otherwise."""
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or str(path) != name or "\0" in name or len(path.parts) < 2:
        raise NoManifestError(f"names {name!r}, which is no file of a cache")
    return name


def check_record(record: FileRecord) -> None:
    whole = isinstance(record.size_bytes, int) and isinstance(record.mtime_ns, int)
    digits = (
        isinstance(record.sha256, str) and len(record.sha256) == 64 and set(record.sha256) <= set("0123456789abcdef")
    )
    if not whole or record.size_bytes < 0 or not digits:
        raise NoManifestError("is not a whole manifest")


def setup_from(tree: Any) -> Setup:
    told = texts({name: tree[name] for name in ("key", "name")})
    return Setup(**told, used=float(tree["used"]), first_s=numbers(tree["first_s"]))


def texts(tree: Any) -> dict[str, str]:
    if not all(isinstance(name, str) and isinstance(value, str) for name, value in tree.items()):
        raise TypeError("not texts")
    return dict(tree)


def numbers(tree: Any) -> dict[str, float]:
    return {str(name): float(value) for name, value in tree.items()}


def read_manifest(directory: Path) -> Manifest | None:
    """That of a cache; ``None`` where it has none. Raises ``NoManifestError`` for one that makes no sense."""
    try:
        with open(directory / NAME, "rb", opener=at_once) as file:
            content = file.read(LIMIT_BYTES + 1) or b""
    except FileNotFoundError:
        return None
    except OSError as error:
        raise NoManifestError(f"cannot be read: {error.strerror}") from error
    if len(content) > LIMIT_BYTES:
        raise NoManifestError("is larger than any manifest")
    return manifest_from(content)


def at_once(path: str, flags: int) -> int:
    """A pipe in a file's place would block."""
    return os.open(path, flags | os.O_NONBLOCK)


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Replace it in one step, which outlasts a power cut. Raises ``OSError``."""
    part = directory / f"{NAME}.part"
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write(manifest.as_text())
            file.flush()
            os.fsync(file.fileno())
        part.replace(directory / NAME)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    sync(directory)


def sync(directory: Path) -> None:
    """Names of a directory reach the disk. Raises ``OSError``."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

"""The files of a cache: which there are, what they hold, and whether they are as their manifest says."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from rigappliance.caches.manifest import FileRecord, Manifest

# Directories below state_dir/cache that are vouched for, as rigappliance.render.vllm names them. What is beside them
# (HF_HOME, XDG_CACHE_HOME) depends on nothing here, and may hold an account's token.
PARTS = ("vllm", "inductor", "triton", "cuda", "flashinfer")
BLOCK_BYTES = 1 << 20
# A disk that turns reads this much in ten seconds, and the engine reads the same right after, from memory then.
DIGEST_LIMIT_BYTES = 1 << 30
# Written under such a name first, and renamed when whole.
TEMPORARY = (".tmp", ".part")
LOCK = ".lock"
# Mounted with relatime, as most are, file systems do not note a reading that follows another within a day.
ACCESS_STEP_NS = 24 * 3600 * 10**9


@dataclass(frozen=True)
class Damage:
    """One file that is not what its manifest says, and how so."""

    file: str
    what: str

    @property
    def part(self) -> str:
        return self.file.partition("/")[0]

    @property
    def unit(self) -> str:
        return unit_of(self.file)


@dataclass(frozen=True)
class Verdict:
    """What looking at all files found. ``stray`` are files that no manifest names; ``digested_bytes`` were read."""

    damages: tuple[Damage, ...]
    stray: tuple[str, ...]
    digested_bytes: int
    seconds: float


def unit_of(name: str) -> str:
    """The least around a file that the engine can do without as a whole.

    That is a directory of a part: one of Triton's kernels or of Inductor's shelves, or all of vLLM's compiled models.
    Within it one file may name another, whose absence would end the start.
    """
    return "/".join(name.split("/")[:2]) if name.count("/") > 1 else name.partition("/")[0]


def parent(name: str) -> str:
    return name.rpartition("/")[0]


def files_of(directory: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Every file below the parts of ``directory`` by its name from there, and every link, which none of them should be.

    Locks are left out: they hold nothing.
    """
    for part in PARTS:
        if (directory / part).is_symlink():
            yield f"{part}/", (directory / part).lstat()
            continue
        for place, directories, names in os.walk(directory / part):
            links = [name for name in directories if (Path(place) / name).is_symlink()]
            for name in [*names, *links]:
                path = Path(place) / name
                if not name.endswith(LOCK):
                    with suppress(FileNotFoundError):
                        yield str(path.relative_to(directory)), path.lstat()


def digest_of(path: Path) -> str:
    """SHA-256 of a regular file. Raises ``OSError``, also for a link or a pipe, which would lead elsewhere or block."""
    fd = open_unseen(path)
    with os.fdopen(fd, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        total = hashlib.sha256()
        while block := file.read(BLOCK_BYTES):
            total.update(block)
    return total.hexdigest()


def open_unseen(path: Path) -> int:
    """Without a new time of access, which is to say what the engine uses."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.open(path, flags | os.O_NOATIME)
    except PermissionError:
        # Of another owner.
        return os.open(path, flags)


def record_files(
    directory: Path,
    known: Mapping[str, FileRecord],
    setup: str,
    since_ns: int = 0,
    until_ns: int | None = None,
) -> dict[str, FileRecord]:
    """All whole files, in the order of their names; digests of ``known`` that still have size and time are taken over.

    What is new is of ``setup``, and what was read since ``since_ns`` is from now on.  A file that changes meanwhile is
    left out, and new ones of a directory in which something was written after ``until_ns``.  Raises ``OSError`` where
    one cannot be read.
    """
    found = {}
    present = sorted(files_of(directory))
    late = {parent(name) for name, status in present if until_ns is not None and status.st_mtime_ns > until_ns}
    for name, status in present:
        if not stat.S_ISREG(status.st_mode) or name.endswith(TEMPORARY):
            continue
        old = known.get(name)
        if old and (old.size_bytes, old.mtime_ns) == (status.st_size, status.st_mtime_ns):
            used = status.st_atime_ns >= since_ns - ACCESS_STEP_NS
            found[name] = replace(old, setup=setup) if used else old
            continue
        if parent(name) in late:
            continue
        with suppress(FileNotFoundError):
            sha256 = digest_of(directory / name)
            after = (directory / name).lstat()
            if (after.st_size, after.st_mtime_ns) == (status.st_size, status.st_mtime_ns):
                found[name] = FileRecord(status.st_size, status.st_mtime_ns, sha256, setup)
    return found


def verify(
    directory: Path,
    manifest: Manifest,
    digest_limit_bytes: int = DIGEST_LIMIT_BYTES,
    progress: Callable[[int], None] | None = None,
) -> Verdict:
    """Compare every file's size, and its digest as far as the limit goes; beyond it, its time stands for that.

    Reads in the order of inodes, which a disk that turns has nearly in a row.  Raises nothing.
    """
    started_s = time.monotonic()
    present = dict(files_of(directory))
    damages, read_bytes = [], 0
    order = sorted(manifest.files, key=lambda name: present[name].st_ino if name in present else 0)
    for name in order:
        record, status = manifest.files[name], present.get(name)
        what = shape_damage(record, status)
        assert status is not None or what  # noqa: S101
        if not what and (
            read_bytes + record.size_bytes <= digest_limit_bytes or status_time(status) != record.mtime_ns
        ):
            read_bytes += record.size_bytes
            what = content_damage(directory / name, record)
            if progress:
                progress(read_bytes)
        if what:
            damages.append(Damage(name, what))
    stray = tuple(sorted(name for name in present if name not in manifest.files))
    return Verdict(tuple(sorted(damages, key=lambda each: each.file)), stray, read_bytes, time.monotonic() - started_s)


def status_time(status: os.stat_result | None) -> int:
    return status.st_mtime_ns if status else 0


def shape_damage(record: FileRecord, status: os.stat_result | None) -> str:
    """What a file's name and size say against it; empty where nothing."""
    if status is None:
        return "is gone"
    if not stat.S_ISREG(status.st_mode):
        return "is no regular file any more"
    if status.st_size != record.size_bytes:
        return f"has {status.st_size} bytes of {record.size_bytes}"
    return ""


def content_damage(path: Path, record: FileRecord) -> str:
    try:
        same = digest_of(path) == record.sha256
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return "" if same else "has another content"

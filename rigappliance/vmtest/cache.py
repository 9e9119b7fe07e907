"""What is made once and used by many tests: images, states of booted guests, wheels.

Below the cache directory there is a directory a kind, and in it an entry a key.
An entry is made under a passing name and renamed when it is whole; two that
want the same wait for one another.  Whoever uses an entry holds a lock on it,
and what nobody has used for long is removed when the next one is made.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rigappliance.errors import BusyError

# Touched at each use; its lock says that an entry is in use now.
USED = ".used"
# Random, so that what was made from an entry is not laid over a later making of the same.
IDENTITY = ".identity"
LOCKS = "locks"
MAKING = ".making-"
REMOVING = ".removing-"

# Another test session may be making the same image; that takes minutes on a slow network.
LOCK_TIMEOUT_S = 1800.0
LOCK_POLL_S = 0.2

# Each edit of the package makes a state of its own, so age alone would let them pile up.
KEPT_OF_A_KIND = 5
SPARED_S = 3600.0
UNUSED_S = 30 * 24 * 3600.0

Make = Callable[[Path], None]


def cache_directory() -> Path:
    """``$XDG_CACHE_HOME/rigappliance/vmtest``, or the same below ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "rigappliance" / "vmtest"


def key_of(*inputs: object) -> str:
    """Short name of everything that an entry is made from; the inputs are JSON values."""
    text = json.dumps(inputs, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def entry(kind: str, key: str, make: Make, *, whole: Callable[[Path], bool] = Path.is_dir) -> Path:
    """The entry's directory, made by ``make(directory)`` where it is not there or no longer ``whole``.

    Raises ``BusyError`` when another process has been making it for too long.
    """
    path = cache_directory() / kind / key
    if path.is_dir() and whole(path):
        _touch(path)
        return path
    with _locked(f"{kind}-{key}"):
        if path.is_dir() and whole(path):
            _touch(path)
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        for stale in path.parent.glob(f"{MAKING}{key}-*"):
            shutil.rmtree(stale, ignore_errors=True)
        making = Path(tempfile.mkdtemp(prefix=f"{MAKING}{key}-", dir=path.parent))
        try:
            make(making)
            (making / USED).touch()
            (making / IDENTITY).write_text(secrets.token_hex(8), encoding="ascii")
            # mkdtemp's 0700 would keep out a second user of a shared cache.
            making.chmod(0o755)
            if path.exists():
                _remove(path)
            making.rename(path)
        except BaseException:
            shutil.rmtree(making, ignore_errors=True)
            raise
    prune(kind)
    return path


def hold(path: Path) -> int:
    """Mark an entry as in use until the returned descriptor is closed."""
    descriptor = os.open(path / USED, os.O_RDONLY | os.O_CLOEXEC)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    _touch(path)
    return descriptor


def identity(path: Path) -> str:
    """Tells this making of an entry from every other."""
    return (path / IDENTITY).read_text(encoding="ascii")


def prune(kind: str) -> None:
    """Remove the entries of a kind that were unused for long, and all but the latest few; never one in use."""
    directory = cache_directory() / kind
    now = time.time()
    last_use: list[tuple[float, Path]] = []
    for path in directory.iterdir():
        if path.name.startswith("."):
            continue
        with suppress(OSError):
            last_use.append(((path / USED).stat().st_mtime, path))
    for rank, (used, path) in enumerate(sorted(last_use, reverse=True)):
        idle_s = now - used
        if idle_s > UNUSED_S or (rank >= KEPT_OF_A_KIND and idle_s > SPARED_S):
            _remove_unless_used(path)


def _touch(path: Path) -> None:
    # A cache of another user may be read-only.
    with suppress(OSError):
        os.utime(path / USED)


def _remove_unless_used(path: Path) -> None:
    with suppress(OSError):
        descriptor = os.open(path / USED, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(path)
        finally:
            os.close(descriptor)


def _remove(path: Path) -> None:
    # Renamed first, so that nobody finds half of it.
    away = Path(tempfile.mkdtemp(prefix=REMOVING, dir=path.parent))
    path.rename(away / path.name)
    shutil.rmtree(away, ignore_errors=True)


@contextmanager
def _locked(name: str) -> Iterator[None]:
    directory = cache_directory() / LOCKS
    directory.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(directory / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise BusyError(
                        f"another process has been making {name} for {LOCK_TIMEOUT_S:.0f} s",
                        f"the lock {directory / name}.lock is free",
                        "look at that process and end it if it hangs",
                    ) from error
                time.sleep(LOCK_POLL_S)
        yield
    finally:
        os.close(descriptor)

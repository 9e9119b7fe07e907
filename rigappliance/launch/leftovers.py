"""What a dead engine leaves behind, and its removal. Standard library only: the guard imports this.

The engine and its libraries create POSIX shared memory and semaphores below
/dev/shm and, when killed, leave them there; on a 16 GB machine that is RAM
that only a reboot would bring back.
"""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

from rigappliance.launch.proctree import PROC, all_pids

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 this is the place itself, not a temporary file

# multiprocessing's segments and semaphores, glibc's semaphores, torch's and NCCL's segments.
ENGINE_NAMES = re.compile(r"^(psm_|sem\.|torch_|nccl-|vllm|cuda\.shm\.|shm_broadcast)")

# torch keeps its precompiled C++ headers in the temporary directory whatever its
# cache directory is (torch/_inductor/codecache.py); without them every start
# compiles seconds longer.
CACHES_IN_TMP = "torchinductor_"


def shared_memory_names() -> frozenset[str]:
    """Names below /dev/shm now; empty where there is no such directory."""
    try:
        return frozenset(entry.name for entry in os.scandir(SHARED_MEMORY))
    except OSError:
        return frozenset()


def inodes_in_use() -> set[int]:
    """Files below /dev/shm that a live process maps or holds open, as far as this user may look.

    Inodes, not names: glibc makes a semaphore under a passing name and links it
    to its own afterwards, so its creator's map shows a name that is gone.
    """
    prefix = f"{SHARED_MEMORY}/"
    used: set[int] = set()
    for pid in all_pids():
        base = PROC / str(pid)
        with suppress(OSError):
            for line in (base / "maps").read_text(encoding="utf-8", errors="replace").splitlines():
                # address perms offset dev inode path, proc(5)
                if prefix in line:
                    used.add(int(line.split(maxsplit=5)[4]))
        with suppress(OSError):
            for descriptor in os.scandir(base / "fd"):
                with suppress(OSError):
                    if str(Path(descriptor.path).readlink()).startswith(prefix):
                        used.add(descriptor.stat().st_ino)
    return used


def remove_shared_memory(before: frozenset[str], *, not_older_than_s: float = 0.0) -> list[str]:
    """Remove the engine's segments that came after ``before`` was taken and that nobody uses; return their names.

    Three conditions keep another engine of the same user safe: a name of the
    kinds that engines make, our own user id, and no live process that maps or
    holds it.  ``not_older_than_s`` is a wall-clock time for callers that have
    no snapshot.
    """
    candidates: dict[str, int] = {}
    for name in shared_memory_names() - before:
        with suppress(OSError):
            status = (SHARED_MEMORY / name).stat()
            mine = status.st_uid == os.geteuid()
            if mine and ENGINE_NAMES.match(name) and status.st_ctime >= not_older_than_s:
                candidates[name] = status.st_ino
    if not candidates:
        return []
    used = inodes_in_use()
    removed = []
    for name, inode in sorted(candidates.items()):
        if inode not in used:
            with suppress(OSError):
                (SHARED_MEMORY / name).unlink()
                removed.append(name)
    return removed


def remove_run_directory(directory: Path) -> None:
    """Remove a start's own directory: its sockets."""
    shutil.rmtree(directory, ignore_errors=True)


def clean_temporary(directory: Path) -> None:
    """Remove what engines left in their temporary directory, and keep the caches that torch puts there."""
    try:
        entries = list(os.scandir(directory))
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith(CACHES_IN_TMP):
            continue
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)
        else:
            with suppress(OSError):
                Path(entry.path).unlink()

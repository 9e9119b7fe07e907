"""What a part of the engine does: takes memory, reads shards, writes caches, uses shared memory."""

from __future__ import annotations

import mmap
import os
import random
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

PAGE_BYTES = 4096
READ_BYTES = 4 << 20
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 the place itself

kept: list[Any] = []


def say(fd: int, data: bytes) -> None:
    """Write all of it, however slow the reader is; a reader that is gone is nobody's fault."""
    with suppress(BrokenPipeError):
        while data:
            data = data[os.write(fd, data) :]


def take(size: int) -> None:
    """Memory that is really used: each page is written to."""
    if size > 0:
        block = bytearray(size)
        pages = len(range(0, size, PAGE_BYTES))
        block[::PAGE_BYTES] = b"\1" * pages
        kept.append(block)


def grow(step_bytes: int, every_s: float, limit: int | None) -> None:
    """Take more and more."""
    taken = 0
    while limit is None or taken < limit:
        take(step_bytes)
        taken += step_bytes
        time.sleep(every_s)


def read(path: str, offset: int, size: int) -> int:
    """Bytes read of a file from ``offset`` on; fewer than ``size`` at its end."""
    done = 0
    with Path(path).open("rb", buffering=0) as file:
        file.seek(offset)
        while done < size:
            data = file.read(min(READ_BYTES, size - done))
            if not data:
                break
            done += len(data)
    return done


def write_cache(directory: str, rank: int, size: int) -> str:
    """A compiled model as torch leaves it below VLLM_CACHE_ROOT; returns its path."""
    place = Path(directory) / "torch_compile_cache" / "torch_aot_compile" / ("5" * 64) / f"rank_{rank}_0"
    place.mkdir(parents=True, exist_ok=True)
    path = place / "model"
    temporary = place / f".model.{os.getpid()}"
    try:
        with temporary.open("wb") as file:
            for start in range(0, size, READ_BYTES):
                file.write(random.randbytes(min(READ_BYTES, size - start)))  # noqa: S311 bytes that do not compress
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise
    return str(path)


def share(name: str, size: int) -> None:
    """Make or open a segment in /dev/shm, and map it for as long as the process lives."""
    with (SHARED_MEMORY / name).open("a+b") as file:
        if file.seek(0, os.SEEK_END) < size:
            # Not by ftruncate: a full /dev/shm has to be met here, and not by SIGBUS later.
            os.posix_fallocate(file.fileno(), 0, size)
        kept.append(mmap.mmap(file.fileno(), size))


def remove(name: str) -> None:
    with suppress(OSError):
        (SHARED_MEMORY / name).unlink()


def spin(for_s: float) -> None:
    until = time.monotonic() + for_s
    while time.monotonic() < until:
        sum(range(10_000))


def helpers(count: int, for_s: float) -> None:
    """Children that do what a compiler does, one after the other, and never give themselves a name of their own."""
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            spin(for_s)
            os._exit(0)
        os.waitpid(pid, 0)


def step(for_s: float) -> None:
    """A token."""
    time.sleep(for_s)


def fill(directory: str, leave_bytes: int) -> int:
    """Fill the file system of ``directory`` but for ``leave_bytes``; returns how much that took."""
    path = Path(directory) / ("psm_57a4d111" if Path(directory) == SHARED_MEMORY else "filled-by-standin")
    free = os.statvfs(directory)
    size = max(0, free.f_bavail * free.f_frsize - leave_bytes)
    with path.open("wb") as file:
        # What the file system says is free is not always what a file can have.
        while size > PAGE_BYTES:
            try:
                os.posix_fallocate(file.fileno(), 0, size)
                break
            except OSError:
                size -= max(PAGE_BYTES, size // 100)
        if not leave_bytes:
            with suppress(OSError):
                while True:
                    os.write(file.fileno(), b"\1" * PAGE_BYTES)
    return size


def orders() -> dict[str, Callable[..., Any]]:
    return {
        "say": say,
        "take": take,
        "grow": grow,
        "read": read,
        "write_cache": write_cache,
        "share": share,
        "spin": spin,
        "helpers": helpers,
        "step": step,
        "fill": fill,
    }

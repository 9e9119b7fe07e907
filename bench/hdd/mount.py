"""Mounting the disk and talking to the process behind it."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bench.hdd.faults import Fault, as_json
from bench.hdd.model import DiskModel

MS_RDONLY, MS_NOSUID, MS_NODEV = 1, 2, 4
MNT_DETACH = 2
DEFAULT_READ_AHEAD_KIB = 128


@dataclass(frozen=True)
class Counts:
    """What the disk did since the last ``zero``. ``lost_s``: time that its process was too starved to keep."""

    requests: int
    bytes: int
    seeks: int
    busy_s: float
    lost_s: float
    longest_queue: int
    bytes_by_file: dict[str, int]
    requests_by_file: dict[str, int]

    @property
    def mean_bytes(self) -> float:
        return self.bytes / self.requests if self.requests else 0.0

    def without(self, file: str) -> Counts:
        """The requests and bytes of all other files; the disk's times and seeks stay those of all."""
        bytes_by_file = {name: size for name, size in self.bytes_by_file.items() if name != file}
        requests_by_file = {name: count for name, count in self.requests_by_file.items() if name != file}
        return replace(
            self,
            bytes=sum(bytes_by_file.values()),
            requests=sum(requests_by_file.values()),
            bytes_by_file=bytes_by_file,
            requests_by_file=requests_by_file,
        )


@dataclass(frozen=True)
class HardDisk:
    """A mounted disk: ``path`` is where its files are."""

    path: Path
    process: subprocess.Popen[bytes]

    def counts(self) -> Counts:
        told = self._ask({"do": "counts"})
        return Counts(bytes=sum(told["bytes_by_file"].values()), **told)

    def zero(self) -> None:
        self._ask({"do": "zero"})

    def drop_cache(self) -> None:
        """No page of any file is in memory afterwards, mapped ones included."""
        self._ask({"do": "forget"})

    def fail(self, fault: Fault) -> None:
        self._ask({"do": "fail", "fault": as_json(fault)})

    def heal(self) -> None:
        self._ask({"do": "heal"})
        self.drop_cache()

    def set_read_ahead(self, kib: int) -> None:
        device = self.path.stat().st_dev
        Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb").write_text(str(kib))

    def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the disk's process ended with status {self.process.wait()}")
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise ValueError(reply["error"])
        return reply


def unavailable() -> str | None:
    """Why no disk can be mounted here; ``None`` where one can."""
    if os.geteuid() != 0:
        return "mounting a FUSE file system by hand needs root"
    if not Path("/dev/fuse").exists():
        return "there is no /dev/fuse"
    return None


def call(name: str, *arguments: object) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def mount(device: int, mountpoint: Path) -> None:
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other"
    call(
        "mount", b"hdd", os.fsencode(mountpoint), b"fuse.hdd", ctypes.c_ulong(MS_RDONLY | MS_NOSUID | MS_NODEV),
        options.encode(),
    )  # fmt: skip


def unmount(mountpoint: Path) -> None:
    """Also where a file is still open: it then goes away with its last user, whose reads fail from now on."""
    call("umount2", os.fsencode(mountpoint), MNT_DETACH)


@contextmanager
def mounted(
    source: Path, model: DiskModel | None = None, *, fifo: bool = False, read_ahead_kib: int = DEFAULT_READ_AHEAD_KIB
) -> Iterator[HardDisk]:
    """``source`` behind a disk, at a directory of its own. Nothing stays behind, whatever happens inside."""
    mountpoint = Path(tempfile.mkdtemp(prefix="rigbench-hdd-"))
    command = [
        sys.executable, "-m", "bench.hdd", str(source), str(mountpoint), "--orders",
        "--model", json.dumps(asdict(model or DiskModel())),
    ]  # fmt: skip
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(
        command + ["--fifo"] * fifo, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root, start_new_session=True
    )
    disk = HardDisk(mountpoint, process)
    try:
        assert process.stdout
        if json.loads(process.stdout.readline() or b"null") != {"mounted": True}:
            raise RuntimeError(f"no disk at {mountpoint}: its process ended with status {process.wait()}")
        disk.set_read_ahead(read_ahead_kib)
        yield disk
    finally:
        assert process.stdin
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if mountpoint.is_mount():
            unmount(mountpoint)
        settle(mountpoint)


def settle(mountpoint: Path) -> None:
    """The directory can be removed as soon as nothing is mounted on it."""
    for _ in range(50):
        try:
            mountpoint.rmdir()
            return
        except OSError:
            time.sleep(0.05)
    mountpoint.rmdir()

"""Making it: room first, in the right order, and whole whatever ends it."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import resource
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rigappliance.errors import PreflightError
from rigappliance.swapfile import allocate, btrfs, make, space
from rigappliance.swapfile.area import check_area, open_file, read_header
from rigappliance.swapfile.extents import first_hole
from rigappliance.swapfile.programs import find_program
from rigappliance.swapfile.programs import run_program as run_program_for_real
from rigappliance.swapfile.progress import Progress
from rigappliance.units import SIZE_UNITS
from tests.unit.swapfile.host import MIB, Host, ended_by, in_child

GIB = SIZE_UNITS["GiB"]
SIZE = 8 * MIB
# Two that are preallocated and written, by what the mount table says.
WAYS = ["ext4", "ext2"]


def good(host: Host, size: int = SIZE) -> None:
    """The file is whole, and the only one."""
    assert list(host.directory.iterdir()) == [host.file]
    status = host.file.lstat()
    assert (status.st_size, status.st_mode & 0o7777, status.st_nlink) == (size, 0o600, 1)
    fd = open_file(host.file, os.geteuid())
    check_area(fd, host.file, "ext4")
    assert first_hole(fd, size) == size
    os.close(fd)


@pytest.mark.parametrize("filesystem", WAYS)
def test_made_enabled_and_said(host: Host, filesystem: str) -> None:
    host.mount(filesystem)
    done = host.on(priority=77)
    good(host)
    assert done.startswith(f"{host.file}: 8.0 MiB of swap active, priority 77, made in ")
    assert host.programs() == ["swapon -p 77 rig.swap"]
    way = {"ext4": "preallocated", "ext2": "written"}[filesystem]
    assert host.lines[0] == f"making {host.file}: 8.0 MiB, {way} on {filesystem} at {host.directory}"


def test_the_whole_file_and_both_names_are_on_the_disk_in_this_order(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each sync with the state that it makes last."""
    events: list[str] = []
    real_sync, real_rename = os.fsync, Path.rename

    def fsync(fd: int) -> None:
        path = Path(f"/proc/self/fd/{fd}").readlink()
        state = f"{path.stat().st_size // MIB} MiB {header_of(fd)}" if path.is_file() else names(host)
        events.append(f"sync {path.name}: {state}")
        real_sync(fd)

    def run_program(name: str, *arguments: str) -> str | None:
        events.append(name)
        return run_program_for_real(name, *arguments)

    def rename(self: Path, target: Path) -> Path:
        events.append("rename")
        return real_rename(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(make, "run_program", run_program)
    monkeypatch.setattr(Path, "rename", rename)
    host.on()
    assert events == [
        "sync disk: rig.swap.partial",
        "sync rig.swap.partial: 8 MiB without header",
        "mkswap",
        "sync rig.swap.partial: 8 MiB with header",
        "rename",
        "sync disk: rig.swap",
    ]


def header_of(fd: int) -> str:
    return "with header" if read_header(fd) else "without header"


def names(host: Host) -> str:
    return ", ".join(sorted(path.name for path in host.directory.iterdir()))


# --- power cuts ------------------------------------------------------------


class Cut:
    """Kills this process, a child of the test, before or after its ``number``-th change of the disk."""

    CHANGES: tuple[tuple[Any, str], ...] = (
        (make, "begin_partial"),
        (os, "fchmod"),
        (os, "ftruncate"),
        (allocate, "fallocate"),
        (os, "pwrite"),
        (os, "fdatasync"),
        (os, "fsync"),
        (make, "run_program"),
        (Path, "rename"),
    )

    def __init__(self, number: int, after: bool) -> None:
        self.number = number
        self.after = after
        self.seen = 0
        for place, name in self.CHANGES:
            setattr(place, name, self.wrapped(getattr(place, name)))

    def wrapped(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            number, self.seen = self.seen, self.seen + 1
            if number == self.number and not self.after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = real(*arguments)
            if number == self.number:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call


def whole_or_absent(host: Host) -> None:
    """The next boot would find a good file, or none under that name."""
    if host.file.exists():
        good(host)
    else:
        assert list(host.directory.iterdir()) in ([], [host.partial])


@pytest.mark.parametrize("filesystem", WAYS)
@pytest.mark.parametrize("after", [False, True])
def test_killed_at_every_step_and_made_good_the_next_time(host: Host, filesystem: str, after: bool) -> None:
    host.mount(filesystem)
    number = 0
    while True:
        status = ended_by(in_child(lambda number=number: (Cut(number, after), host.on())))  # type: ignore[misc]
        whole_or_absent(host)
        if status == 0:
            break
        assert status == -signal.SIGKILL
        host.reboot()
        host.on()
        good(host)
        assert host.active() == [str(host.file)]
        host.reboot()
        host.file.unlink()
        number += 1
    # Preallocating: begin, mode, directory, 8 steps, sync, mkswap, sync, rename, directory.
    assert number >= {"ext4": 16, "ext2": 48}[filesystem]


def slowed(host: Host) -> None:
    """A disk that takes its time for every step."""
    real_sync, real_fallocate = os.fdatasync, allocate.fallocate

    def fdatasync(fd: int) -> None:
        time.sleep(0.003)
        real_sync(fd)

    def fallocate(fd: int, start_bytes: int, length_bytes: int) -> None:
        time.sleep(0.003)
        real_fallocate(fd, start_bytes, length_bytes)

    host.monkeypatch.setattr(os, "fdatasync", fdatasync)
    host.monkeypatch.setattr(allocate, "fallocate", fallocate)


def allocated(host: Host) -> int:
    try:
        return host.partial.stat().st_blocks * 512
    except FileNotFoundError:
        return 0


def running(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


@pytest.mark.parametrize("filesystem", WAYS)
def test_killed_again_and_again_at_random_moments(host: Host, filesystem: str) -> None:
    """Each goes on with what the one before left, until it is whole."""
    host.mount(filesystem)
    slowed(host)
    rng = random.Random(f"{filesystem} 3")
    killed, rounds, left = 0, 0, set()
    while killed < 25 and rounds < 100:
        rounds += 1
        if host.file.exists() or allocated(host) >= SIZE:
            host.reboot()
            host.on()
            good(host)
            host.reboot()
            host.file.unlink()
        goal = allocated(host) + rng.randint(0, 3) * MIB
        pid = in_child(host.on)
        while running(pid) and allocated(host) < goal:
            time.sleep(0.0005)
        time.sleep(rng.uniform(0, 0.005))
        os.kill(pid, signal.SIGKILL)
        killed += ended_by(pid) == -signal.SIGKILL
        whole_or_absent(host)
        left.add(allocated(host) // MIB)
    assert killed == 25
    assert len(left) >= 5
    host.reboot()
    host.on()
    good(host)


def empty(path: Path) -> None:
    path.touch(0o600)


def size_without_blocks(path: Path) -> None:
    empty(path)
    os.truncate(path, SIZE)


def header_alone(path: Path) -> None:
    size_without_blocks(path)
    subprocess.run([find_program("mkswap"), str(path)], check=True, capture_output=True)


def torn_header(path: Path) -> None:
    header_alone(path)
    with path.open("r+b") as file:
        file.seek(1024)
        file.write(bytes(512))


def all_but_the_name(path: Path) -> None:
    path.write_bytes(bytes(SIZE))
    path.chmod(0o600)
    subprocess.run([find_program("mkswap"), str(path)], check=True, capture_output=True)


def old_blocks_in_the_tail(path: Path) -> None:
    """Without a journal for data, blocks can show what they held before."""
    path.write_bytes(bytes(MIB) + os.urandom(2 * MIB))


def of_a_larger_declaration(path: Path) -> None:
    path.write_bytes(bytes(2 * SIZE))


@pytest.mark.parametrize("filesystem", WAYS)
@pytest.mark.parametrize(
    "left",
    [
        empty,
        size_without_blocks,
        header_alone,
        torn_header,
        all_but_the_name,
        old_blocks_in_the_tail,
        of_a_larger_declaration,
    ],
)
def test_what_a_power_cut_can_leave_is_gone_on_with(host: Host, filesystem: str, left: Callable[[Path], None]) -> None:
    """A kill loses nothing of the page cache; a power cut does."""
    host.mount(filesystem)
    left(host.partial)
    inode = host.partial.stat().st_ino
    host.on()
    good(host)
    assert host.file.stat().st_ino == inode


# --- room ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("total", "reserve"),
    [(GIB, 0.05 * GIB), (10 * GIB, 0.5 * GIB), (40 * GIB, 2 * GIB), (2000 * GIB, 2 * GIB)],
)
def test_what_stays_free(total: int, reserve: float) -> None:
    assert space.reserve_bytes(total) == pytest.approx(reserve, abs=1)


def disk(monkeypatch: pytest.MonkeyPatch, host: Host, free: int, total: int = 100 * GIB) -> None:
    """A disk with ``free`` bytes less what the swap file has got; root could use 5 GiB more."""

    def statvfs(path: Path) -> os.statvfs_result:
        assert path == host.directory
        used = sum(file.stat().st_blocks * 512 for file in host.directory.iterdir())
        blocks = (free - used) // 4096
        return os.statvfs_result((4096, 4096, total // 4096, blocks + 5 * GIB // 4096, blocks, 0, 0, 0, 0, 255))

    monkeypatch.setattr(os, "statvfs", statvfs)


@pytest.mark.parametrize("filesystem", WAYS)
def test_too_little_room_is_refused_before_anything_is_written(
    host: Host, monkeypatch: pytest.MonkeyPatch, filesystem: str
) -> None:
    host.mount(filesystem)
    disk(monkeypatch, host, 2 * GIB + SIZE - 4096)
    with pytest.raises(PreflightError) as caught:
        host.on()
    assert caught.value.found == f"2.0 GiB are free in {host.directory}"
    assert caught.value.expected == f"2.0 GiB: 8.0 MiB for {host.partial}, and 2.0 GiB that stay free"
    assert caught.value.remedy.startswith("free 4.0 KiB, lower memory.swap, or")
    assert list(host.directory.iterdir()) == []


def test_just_enough_room_is_enough(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    disk(monkeypatch, host, 2 * GIB + SIZE)
    host.on()
    good(host)


@pytest.mark.parametrize("filesystem", WAYS)
@pytest.mark.parametrize("left", [5 * MIB, 7 * MIB + MIB // 2, SIZE])
def test_what_is_made_already_needs_no_room(
    host: Host, monkeypatch: pytest.MonkeyPatch, filesystem: str, left: int
) -> None:
    host.mount(filesystem)
    host.partial.write_bytes(bytes(left))
    disk(monkeypatch, host, 2 * GIB + SIZE)
    host.on()
    good(host)


def test_a_real_disk_that_is_too_small(host: Host) -> None:
    with pytest.raises(PreflightError, match="are free in"):
        host.on(2**60)
    assert list(host.directory.iterdir()) == []


@pytest.mark.parametrize("filesystem", WAYS)
def test_a_disk_that_others_fill_meanwhile_keeps_its_reserve(
    host: Host, monkeypatch: pytest.MonkeyPatch, filesystem: str
) -> None:
    host.mount(filesystem)
    disk(monkeypatch, host, 2 * GIB + SIZE)
    real = Progress.at

    def at(self: Progress, done: int) -> None:
        real(self, done)
        if done == 3 * MIB:
            disk(monkeypatch, host, 2 * GIB + 3 * MIB)

    monkeypatch.setattr(Progress, "at", at)
    with pytest.raises(PreflightError, match="are free in"):
        host.on()
    assert host.partial.stat().st_blocks * 512 <= 3 * MIB + 65536
    assert not host.file.exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_is_full_after_all_gets_the_unfinished_step_back(
    host: Host, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    real = allocate.fallocate

    def fallocate(fd: int, start: int, length: int) -> None:
        real(fd, start, length)
        if start == 2 * MIB:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(allocate, "fallocate", fallocate)
    with pytest.raises(PreflightError) as caught:
        host.on()
    assert f"{os.strerror(number)} when 2.0 MiB of {host.file} were made" in caught.value.found
    assert host.partial.stat().st_size == 2 * MIB
    monkeypatch.setattr(allocate, "fallocate", real)
    host.on()
    good(host)


@pytest.mark.parametrize("filesystem", WAYS)
def test_a_limit_of_the_file_size_is_told(host: Host, filesystem: str) -> None:
    """From the kernel itself."""
    host.mount(filesystem)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 * MIB, before[1]))
    try:
        with pytest.raises(PreflightError, match="File too large"):
            host.on()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    host.on()
    good(host)


# --- what else can go wrong ------------------------------------------------


def test_a_file_system_that_leaves_holes_is_noticed(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocate, "fallocate", lambda fd, start, length: os.ftruncate(fd, start + length))
    with pytest.raises(PreflightError, match="it has a hole at"):
        host.on()
    assert not host.file.exists()
    assert host.programs() == []


def test_mkswap_is_quoted(host: Host) -> None:
    host.install("mkswap", '#!/bin/sh\necho "mkswap: cannot open $1: No luck" >&2\nexit 1\n')
    with pytest.raises(PreflightError) as caught:
        host.on()
    assert caught.value.found == f"mkswap {host.partial}: mkswap: cannot open {host.partial}: No luck"
    assert list(host.directory.iterdir()) == [host.partial]


def test_a_mkswap_that_does_nothing_is_noticed(host: Host) -> None:
    host.install("mkswap", "#!/bin/sh\nexit 0\n")
    with pytest.raises(PreflightError, match="is no swap area"):
        host.on()
    assert list(host.directory.iterdir()) == [host.partial]


def test_a_file_that_somebody_makes_meanwhile_is_not_replaced(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_program(name: str, *arguments: str) -> str | None:
        host.file.write_text("data")
        return run_program_for_real(name, *arguments)

    monkeypatch.setattr(make, "run_program", run_program)
    with pytest.raises(PreflightError, match="made by somebody else meanwhile"):
        host.on()
    assert host.file.read_text() == "data"


@pytest.mark.parametrize("left", [None, bytes(3 * MIB)])
def test_btrfs_gets_an_empty_file_to_write_in_place(
    host: Host, monkeypatch: pytest.MonkeyPatch, left: bytes | None
) -> None:
    """It takes the attribute for an empty file alone, and not together with giving up compression (Linux 6.18)."""
    compress, nocow = 0x4, 0x00800000
    flags = {"now": compress}
    sizes: list[int] = []

    real = fcntl.ioctl

    def ioctl(fd: int, request: int, buffer: Any) -> int:
        if request == btrfs.FS_IOC_SETFLAGS:
            wanted = int.from_bytes(buffer[:4], "little")
            if wanted & nocow and flags["now"] & compress:
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            sizes.append(os.fstat(fd).st_size)
            flags["now"] = wanted
        elif request == btrfs.FS_IOC_GETFLAGS:
            buffer[:4] = flags["now"].to_bytes(4, "little")
        else:
            real(fd, request, buffer)
        return 0

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    host.mount("btrfs")
    if left is not None:
        host.partial.write_bytes(left)
    host.on()
    assert sizes == [0, 0]
    assert flags["now"] == nocow
    good(host)


def test_btrfs_that_ignores_the_attribute_is_noticed(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(btrfs, "read_flags", lambda fd: 0)
    monkeypatch.setattr("fcntl.ioctl", lambda *_: 0)
    host.mount("btrfs")
    with pytest.raises(PreflightError, match="does not let"):
        host.on()
    assert host.programs() == []

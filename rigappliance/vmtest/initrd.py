"""The guest's initial file system: busybox, the kernel modules of the root disk, and a short script."""

from __future__ import annotations

import gzip
import lzma
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from rigappliance.vmtest.errors import ImageError

# The root disk's driver; what a kernel has built in needs no file.
ROOT_MODULES = ("virtio_pci", "virtio_blk", "ext4")

CPIO_ALIGNMENT_BYTES = 4
CPIO_TRAILER = "TRAILER!!!"


@dataclass(frozen=True)
class Member:
    """A file or, with no data, a directory of the initial file system."""

    name: str
    mode: int
    data: bytes = b""


def initrd(root: Path, init: bytes) -> bytes:
    """Initial file system for the one kernel below ``root``. Raises ``ImageError`` where a part is missing."""
    directories = ("bin", "dev", "modules", "root")
    members = [Member(name, stat.S_IFDIR | 0o755) for name in directories]
    members.append(Member("init", stat.S_IFREG | 0o755, init))
    members.append(Member("bin/busybox", stat.S_IFREG | 0o755, _busybox(root)))
    modules = module_files(kernel_modules(root), ROOT_MODULES)
    for number, path in enumerate(modules):
        # The script loads them in the order of their names.
        name = f"modules/{number:02}-{path.name.partition('.')[0]}.ko"
        members.append(Member(name, stat.S_IFREG | 0o644, _uncompressed(path)))
    return cpio(members)


def kernel_modules(root: Path) -> Path:
    """Directory of the modules of the one kernel that is installed below ``root``."""
    found = sorted((root / "usr/lib/modules").glob("*/modules.dep"))
    if len(found) != 1:
        names = ", ".join(path.parent.name for path in found) or "none"
        raise ImageError(f"kernels in the image: {names}", "exactly one")
    return found[0].parent


def module_files(modules: Path, wanted: Sequence[str]) -> list[Path]:
    """Files of the wanted modules and of all that they need, in the order of loading. Built-in ones have none."""
    needs: dict[str, list[str]] = {}
    file_of: dict[str, str] = {}
    for line in (modules / "modules.dep").read_text(encoding="ascii").splitlines():
        file, _, needed = line.partition(":")
        file_of[_module_name(file)] = file
        needs[file] = needed.split()
    builtin = {_module_name(line) for line in (modules / "modules.builtin").read_text(encoding="ascii").splitlines()}
    order: list[str] = []
    for name in wanted:
        if name in builtin:
            continue
        if name not in file_of:
            raise ImageError(f"the image's kernel {modules.name} has no module {name}", "a kernel with virtio disks")
        # modules.dep lists what a module needs with the deepest last.
        for file in [*reversed(needs[file_of[name]]), file_of[name]]:
            if file not in order:
                order.append(file)
    return [modules / file for file in order]


def cpio(members: Iterable[Member]) -> bytes:
    """An archive in the kernel's format (newc)."""
    archive = bytearray()
    for number, member in enumerate(members, start=1):
        archive += _cpio_entry(number, member)
    return bytes(archive + _cpio_entry(0, Member(CPIO_TRAILER, 0)))


def _cpio_entry(inode: int, member: Member) -> bytes:
    name = member.name.encode() + b"\0"
    # inode mode uid gid links mtime size devmajor devminor rdevmajor rdevminor namesize check
    fields = (inode, member.mode, 0, 0, 1, 0, len(member.data), 0, 0, 0, 0, len(name), 0)
    header = b"070701" + b"".join(b"%08x" % field for field in fields)
    return _aligned(header + name) + _aligned(member.data)


def _aligned(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % CPIO_ALIGNMENT_BYTES)


def _module_name(file: str) -> str:
    return PurePosixPath(file).name.partition(".")[0].replace("-", "_")


def _uncompressed(path: Path) -> bytes:
    data = path.read_bytes()
    if path.suffix == ".xz":
        return lzma.decompress(data)
    if path.suffix == ".gz":
        return gzip.decompress(data)
    if path.suffix != ".ko":
        raise ImageError(f"kernel module {path.name} is compressed in an unknown way", ".ko, .ko.xz or .ko.gz")
    return data


def _busybox(root: Path) -> bytes:
    for place in ("usr/bin/busybox", "bin/busybox"):
        path = root / place
        if path.is_file():
            return path.read_bytes()
    raise ImageError("the image has no busybox", "the package busybox-static in it")

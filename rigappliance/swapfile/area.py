"""Whether a file is a swap area that the kernel will take: its header, its owner, its holes."""

from __future__ import annotations

import os
import stat
import struct
from dataclasses import dataclass
from pathlib import Path

from rigappliance.errors import PreflightError
from rigappliance.swapfile import btrfs
from rigappliance.swapfile.declared import PAGE_BYTES
from rigappliance.swapfile.extents import first_hole, read_extents, unusable_kind
from rigappliance.units import format_size

SIGNATURE = b"SWAPSPACE2"
# Page sizes of the architectures that Linux runs on; the signature ends the first page.
PAGE_SIZES = (4096, 8192, 16384, 32768, 65536)
# Behind 1024 bytes for a boot loader: version, number of the last page, number of bad pages.
FIELDS = struct.Struct("=LLL")
FIELDS_AT = 1024
VERSION = 1


@dataclass(frozen=True)
class Header:
    """What ``mkswap`` wrote; ``pages`` counts the header's own."""

    page_bytes: int
    version: int
    pages: int


def read_header(fd: int) -> Header | None:
    """The header, or ``None`` for a file that is no swap area."""
    start = os.pread(fd, max(PAGE_SIZES), 0)
    for page_bytes in PAGE_SIZES:
        if start[page_bytes - len(SIGNATURE) : page_bytes] == SIGNATURE:
            version, last_page, _ = FIELDS.unpack_from(start, FIELDS_AT)
            return Header(page_bytes, version, last_page + 1)
    return None


def open_file(file: Path, owner_uid: int) -> int:
    """A descriptor to read ``file``, which the caller closes.

    Raises ``PreflightError`` for anything but a regular file of that user.
    """
    status = file.lstat()
    kind = next((words for test, words in KINDS if test(status.st_mode)), "no regular file")
    if kind:
        raise PreflightError(
            f"{file} is {kind}",
            "a regular file, or none",
            "set memory.swap_file to another path, or remove what is there",
        )
    if status.st_uid != owner_uid:
        raise PreflightError(
            f"{file} belongs to user {status.st_uid}, who could read the memory that is swapped to it",
            "a file of root's",
            "move it away and let `rigappliance swap on` make one, or set memory.swap_file to another path",
        )
    return os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


KINDS = (
    (stat.S_ISREG, ""),
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISBLK, "a block device"),
)


def check_area(fd: int, file: Path, filesystem: str) -> None:
    """Raises ``PreflightError`` where the kernel would not take it, or would lose pages on it."""
    header = read_header(fd)
    if header is None:
        raise PreflightError(
            f"{file} exists and is no swap area: it was not touched",
            "a swap file, or none",
            "move it away, or set memory.swap_file to another path",
        )
    fault = header_fault(header, os.fstat(fd).st_size) or layout_fault(fd, filesystem)
    if fault:
        raise PreflightError(
            f"{file} is a swap area that cannot be used: {fault}",
            "a whole swap file, every block of which is its own",
            "remove it (`rigappliance swap off --delete`); `rigappliance swap on` then makes a good one",
        )


def header_fault(header: Header, size_bytes: int) -> str | None:
    if header.version != VERSION:
        return f"its header has version {header.version} instead of {VERSION}"
    if header.page_bytes != PAGE_BYTES:
        return f"it was made for pages of {header.page_bytes} bytes, and this kernel's have {PAGE_BYTES}"
    if header.pages != size_bytes // PAGE_BYTES:
        return f"its header says {format_size(header.pages * PAGE_BYTES)}, and the file has {format_size(size_bytes)}"
    return None


def layout_fault(fd: int, filesystem: str) -> str | None:
    size_bytes = os.fstat(fd).st_size
    hole = first_hole(fd, size_bytes)
    if hole < size_bytes:
        return f"it has a hole at {format_size(hole)}"
    kind = unusable_kind(read_extents(fd) or [])
    if kind:
        return f"a part of it is {kind}"
    if filesystem == "btrfs" and not btrfs.copies_never(fd):
        return "btrfs copies what is written to it (attribute C is not set)"
    return None

"""The requests of a read-only FUSE file system: their numbers and layouts (linux/fuse.h, protocol 7.38)."""

from __future__ import annotations

import struct
from enum import IntEnum

PROTOCOL = (7, 38)
ROOT = 1
# Requests are small: nothing is ever written. The kernel refuses less than 8 KiB.
REQUEST_BYTES = 64 << 10
LARGEST_READ_BYTES = 1 << 20
# As many as a SATA disk's scheduler takes (nr_requests), where FUSE's own default is 12.
QUEUE = 64

ASYNC_READ, PARALLEL_DIROPS, MAX_PAGES = 1 << 0, 1 << 18, 1 << 22
# Reopening a file must not empty its page cache: no other file system does that.
FOPEN_KEEP_CACHE, FOPEN_CACHE_DIR = 1 << 1, 1 << 3
NOTIFY_INVAL_INODE = 2
VALID_S = 3600

IN_HEADER = struct.Struct("<IIQQIIIHH")
OUT_HEADER = struct.Struct("<IiQ")
INIT_IN = struct.Struct("<IIII")
INIT_OUT = struct.Struct("<IIIIHHIIHHI7I")
ATTRIBUTES = struct.Struct("<QQQQQQIIIIIIIIII")
ENTRY_OUT = struct.Struct("<QQQQII")
ATTR_OUT = struct.Struct("<QII")
OPEN_OUT = struct.Struct("<QII")
READ_IN = struct.Struct("<QQIIQII")
DIRENT = struct.Struct("<QQII")
STATFS_OUT = struct.Struct("<QQQQQIIII6I")
INVAL_INODE = struct.Struct("<Qqq")


class Op(IntEnum):
    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    OPEN = 14
    READ = 15
    STATFS = 17
    RELEASE = 18
    FLUSH = 25
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    INTERRUPT = 36
    DESTROY = 38
    BATCH_FORGET = 42


NO_ANSWER = (Op.FORGET, Op.BATCH_FORGET, Op.INTERRUPT)


def init_out(body: bytes) -> bytes:
    major, minor, read_ahead, offered = INIT_IN.unpack_from(body)
    if major != PROTOCOL[0]:
        raise OSError(f"the kernel speaks FUSE {major}.{minor}, and this file system 7.x")
    flags = offered & (ASYNC_READ | PARALLEL_DIROPS | MAX_PAGES)
    pages = LARGEST_READ_BYTES // 4096
    return INIT_OUT.pack(
        PROTOCOL[0], min(minor, PROTOCOL[1]), read_ahead, flags, QUEUE, QUEUE, 4096, 1, pages, 0, *[0] * 8
    )  # fmt: skip


def attributes(inode: int, size_bytes: int, mode: int, mtime_s: int) -> bytes:
    blocks = -(-size_bytes // 512)
    return ATTRIBUTES.pack(
        inode, size_bytes, blocks, mtime_s, mtime_s, mtime_s, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0
    )  # fmt: skip


def entry_out(inode: int, attrs: bytes) -> bytes:
    return ENTRY_OUT.pack(inode, 0, VALID_S, VALID_S, 0, 0) + attrs


def attr_out(attrs: bytes) -> bytes:
    return ATTR_OUT.pack(VALID_S, 0, 0) + attrs


def dirent(inode: int, next_offset: int, mode: int, name: bytes) -> bytes:
    padded = -(-len(name) // 8) * 8
    return DIRENT.pack(inode, next_offset, len(name), mode >> 12) + name.ljust(padded, b"\0")


def answer_header(unique: int, body_bytes: int, error: int = 0) -> bytes:
    return OUT_HEADER.pack(OUT_HEADER.size + body_bytes, -error, unique)


def invalidation(inode: int, offset_bytes: int) -> bytes:
    """Forget the attributes, and the cached pages from ``offset_bytes`` on."""
    body = INVAL_INODE.pack(inode, offset_bytes, 0)
    return OUT_HEADER.pack(OUT_HEADER.size + len(body), NOTIFY_INVAL_INODE, 0) + body

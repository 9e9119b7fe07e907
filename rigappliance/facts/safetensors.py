"""A safetensors shard by its header alone.

The first eight bytes give the length of a JSON header that names every tensor's
type, shape and place, which is enough to know the exact size that the file
should have.  Tensor data is never read.

Format: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Literal

# The safetensors library refuses a longer header (MAX_HEADER_SIZE in its tensor.rs).
HEADER_LIMIT_BYTES = 100_000_000
LENGTH_BYTES = 8
LFS_POINTER = b"version https://git-lfs"
DTYPE_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64,
    "F4": 4, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64,
}  # fmt: skip

Status = Literal["whole", "truncated", "missing", "unreadable", "corrupt"]


@dataclass(frozen=True)
class ShardFacts:
    """One safetensors file. ``expected_bytes`` is what its header, or its git-lfs pointer, says that it should have."""

    file: str
    status: Status
    size_bytes: int = 0
    expected_bytes: int | None = None
    header_bytes: int = 0
    tensors: int = 0
    tensor_bytes: int = 0
    detail: str = ""


@dataclass(frozen=True)
class Header:
    """What a shard's header says: tensor name to dtype and bytes, and tensor name to shape."""

    tensors: dict[str, tuple[str, int]]
    header_bytes: int
    data_bytes: int
    shapes: dict[str, tuple[int, ...]]


class DamagedError(Exception):
    """Carries what is wrong with one file to where its facts are made."""

    def __init__(self, status: Status, detail: str, expected_bytes: int | None = None) -> None:
        super().__init__(detail)
        self.status: Status = status
        self.detail = detail
        self.expected_bytes = expected_bytes


def read_shard(path: Path) -> tuple[ShardFacts, Header | None]:
    """A shard's facts, and its header where there is one to read (a truncated shard may have it whole)."""
    header: Header | None = None
    size = 0
    try:
        status = path.stat()
        size = status.st_size
        if not stat.S_ISREG(status.st_mode):
            raise DamagedError("unreadable", "it is not a regular file")
        header = read_header(path, size)
        check_length(header, size)
    except FileNotFoundError:
        detail = "a link to a file that is not there" if path.is_symlink() else "the file is not there"
        return ShardFacts(path.name, "missing", detail=detail), None
    except OSError as error:
        return ShardFacts(path.name, "unreadable", size, detail=error.strerror or str(error)), None
    except DamagedError as damage:
        return shard_facts(path.name, damage.status, size, header, damage.expected_bytes, damage.detail), header
    return shard_facts(path.name, "whole", size, header, size, ""), header


def shard_facts(
    name: str, status: Status, size: int, header: Header | None, expected_bytes: int | None, detail: str
) -> ShardFacts:
    return ShardFacts(
        file=name,
        status=status,
        size_bytes=size,
        expected_bytes=expected_bytes,
        header_bytes=header.header_bytes if header else 0,
        tensors=len(header.tensors) if header else 0,
        tensor_bytes=header.data_bytes if header else 0,
        detail=detail,
    )


def read_header(path: Path, size: int) -> Header:
    """Raises ``OSError`` where the file cannot be read, ``DamagedError`` where it is not a shard."""
    # Unbuffered: a buffer would read on into the tensor data.
    with path.open("rb", buffering=0) as file:
        start = file.read(LENGTH_BYTES) or b""
        if size <= 1024 and LFS_POINTER.startswith(start) and start:
            content = start + (file.read(1024) or b"")
            if content.startswith(LFS_POINTER):
                raise DamagedError("corrupt", pointer_detail(content), pointer_size(content))
        if len(start) < LENGTH_BYTES:
            raise DamagedError("truncated", f"{size} bytes, less than a header's length takes")
        length = int.from_bytes(start, "little")
        if length == 0:
            raise DamagedError("corrupt", "the header length is 0: space was reserved and never filled")
        if length > HEADER_LIMIT_BYTES:
            raise DamagedError("corrupt", f"a header of {length} bytes, more than the format's {HEADER_LIMIT_BYTES}")
        if LENGTH_BYTES + length > size:
            raise DamagedError("truncated", f"{size} bytes, which ends inside the header", LENGTH_BYTES + length)
        content = bytearray()
        while len(content) < length and (piece := file.read(length - len(content))):
            content += piece
    return parse_header(bytes(content))


def parse_header(content: bytes) -> Header:
    """Raises ``DamagedError`` where ``content`` is not a header that the safetensors library accepts."""
    try:
        tree = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DamagedError("corrupt", f"the header is not JSON: {error}") from error
    if not isinstance(tree, dict):
        raise DamagedError("corrupt", f"the header holds a {type(tree).__name__}, not an object")
    spans: list[tuple[int, int, str]] = []
    tensors: dict[str, tuple[str, int]] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for name, entry in tree.items():
        if name != "__metadata__":
            dtype, shape, begin, end = parse_entry(name, entry)
            spans.append((begin, end, name))
            tensors[name] = (dtype, end - begin)
            shapes[name] = shape
    position = 0
    for begin, end, name in sorted(spans):
        if begin != position:
            raise DamagedError("corrupt", f"tensor {name} starts at byte {begin} of the data, expected {position}")
        position = end
    return Header(tensors, len(content), position, shapes)


def parse_entry(name: str, entry: object) -> tuple[str, tuple[int, ...], int, int]:
    """Dtype, shape, first byte and end of one tensor. Raises ``DamagedError``."""
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [int(begin), int(end)]}:
            pass
        case _:
            raise DamagedError("corrupt", f"the header's entry of tensor {name} has no dtype, shape and data_offsets")
    if not 0 <= begin <= end or not all(isinstance(dim, int) and dim >= 0 for dim in shape):
        raise DamagedError("corrupt", f"tensor {name} has impossible offsets {begin} to {end} or shape {shape}")
    bits = DTYPE_BITS.get(dtype)
    # A dtype newer than this list is the engine's to judge.
    if bits is not None and prod(shape) * bits != (end - begin) * 8:
        raise DamagedError("corrupt", f"tensor {name} of {dtype} {shape} cannot have {end - begin} bytes")
    return dtype, tuple(shape), begin, end


def check_length(header: Header, size: int) -> None:
    """Raises ``DamagedError`` unless the file ends where its last tensor does."""
    expected = LENGTH_BYTES + header.header_bytes + header.data_bytes
    if size < expected:
        raise DamagedError("truncated", f"{size} bytes of {expected}: {expected - size} are missing", expected)
    if size > expected:
        raise DamagedError("corrupt", f"{size} bytes where the header describes {expected}", expected)


def sum_by_dtype(shards: Iterable[Mapping[str, tuple[str, int]]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for tensors in shards:
        for dtype, size in tensors.values():
            total[dtype] = total.get(dtype, 0) + size
    return dict(sorted(total.items()))


def pointer_size(content: bytes) -> int | None:
    """The size that a git-lfs pointer promises (https://git-lfs.com, "pointer files")."""
    match = re.search(rb"^size (\d+)$", content, flags=re.MULTILINE)
    return int(match[1]) if match else None


def pointer_detail(content: bytes) -> str:
    size = pointer_size(content)
    return "a git-lfs pointer instead of the file" + (f" of {size} bytes" if size is not None else "")

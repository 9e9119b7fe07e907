"""A safetensors shard: what its header says, and where each tensor lies in the file.

Format: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

from .errors import ends_early, header_damaged, not_opened, read_failed

LENGTH_BYTES = 8
# As a part of the file, for whoever reads an error.
HEADER = "the header"
# The safetensors library refuses a longer one.
HEADER_LIMIT_BYTES = 100_000_000
ITEM_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2,
    "U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8,
}  # fmt: skip


@dataclass(frozen=True)
class Place:
    """One tensor; ``begin`` and ``end`` are bytes of the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Identity:
    """By which a file is known again: its header, its length and when it was last written."""

    size_bytes: int
    modified_ns: int
    header: str

    def __str__(self) -> str:
        return f"{self.size_bytes} bytes, written {self.modified_ns} ns, header {self.header[:12]}"


@dataclass(frozen=True)
class Shard:
    """``first`` is the position of its first byte in the stream of all shards; ``places`` are in order of the file."""

    path: Path
    first: int
    identity: Identity
    places: tuple[Place, ...]

    @property
    def size_bytes(self) -> int:
        return self.identity.size_bytes

    @property
    def name(self) -> str:
        return self.path.name

    def unsupported(self) -> str | None:
        """Why its tensors cannot be taken as they lie, if they cannot."""
        for place in self.places:
            item = ITEM_BYTES.get(place.dtype)
            if item is None:
                return f"{self.name} holds a tensor of type {place.dtype}, {place.name}"
            if place.begin % item:
                return f"{self.name} holds a tensor that is not aligned, {place.name} at byte {place.begin}"
        return None


def read_shards(paths: list[Path]) -> tuple[Shard, ...]:
    """In the order given. Raises ``LoadError``."""
    shards: list[Shard] = []
    position = 0
    for path in paths:
        shards.append(read_shard(path, position))
        position += shards[-1].size_bytes
    return tuple(shards)


def read_shard(path: Path, first: int = 0) -> Shard:
    """Raises ``LoadError`` where the file cannot be read or is not a whole shard."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise not_opened(path.name, error) from error
    try:
        status = os.fstat(descriptor)
        content = read_content(descriptor, path.name, status.st_size)
    except OSError as error:
        raise read_failed(path.name, HEADER, 0, LENGTH_BYTES, error) from error
    finally:
        os.close(descriptor)
    start = LENGTH_BYTES + len(content)
    places = tuple(sorted(parse(content, path.name, start), key=lambda place: (place.begin, place.end)))
    check_places(places, path.name, start, status.st_size)
    digest = hashlib.sha256(content).hexdigest()
    return Shard(path, first, Identity(status.st_size, status.st_mtime_ns, digest), places)


def read_content(descriptor: int, shard: str, size_bytes: int) -> bytes:
    length = int.from_bytes(read_exactly(descriptor, shard, LENGTH_BYTES, 0), "little")
    if not 0 < length <= HEADER_LIMIT_BYTES:
        raise header_damaged(shard, f"it says that it has {length} bytes")
    if LENGTH_BYTES + length > size_bytes:
        raise ends_early(shard, HEADER, LENGTH_BYTES, length, size_bytes)
    return read_exactly(descriptor, shard, length, LENGTH_BYTES)


def read_exactly(descriptor: int, shard: str, count: int, offset: int) -> bytes:
    content = b""
    while len(content) < count:
        piece = os.pread(descriptor, count - len(content), offset + len(content))
        if not piece:
            raise ends_early(shard, HEADER, offset, count, offset + len(content))
        content += piece
    return content


def parse(content: bytes, shard: str, start: int) -> Iterator[Place]:
    try:
        tree = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise header_damaged(shard, f"it is not JSON: {error}") from error
    if not isinstance(tree, dict):
        raise header_damaged(shard, f"it holds a {type(tree).__name__}, not an object")
    for name, entry in tree.items():
        if name == "__metadata__":
            continue
        match entry:
            case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [int(begin), int(end)]} if (
                all(isinstance(size, int) and size >= 0 for size in shape) and 0 <= begin <= end
            ):
                yield Place(name, dtype, tuple(shape), start + begin, start + end)
            case _:
                raise header_damaged(shard, f"tensor {name} has no usable dtype, shape and data_offsets")


def check_places(places: tuple[Place, ...], shard: str, start: int, size_bytes: int) -> None:
    """Tensors lie one after the other from the header to the end of the file, each as long as its shape says."""
    position = start
    for place in places:
        if place.begin != position:
            raise header_damaged(shard, f"tensor {place.name} begins at byte {place.begin}, expected {position}")
        item = ITEM_BYTES.get(place.dtype)
        if item is not None and prod(place.shape) * item != place.end - place.begin:
            detail = (
                f"tensor {place.name} of {place.dtype} {list(place.shape)} cannot have {place.end - place.begin} bytes"
            )
            raise header_damaged(shard, detail)
        position = place.end
        if position > size_bytes:
            # The header promises more: a download or a copy that broke off.
            raise ends_early(shard, f"tensor {place.name}", place.begin, place.end - place.begin, size_bytes)
    if position != size_bytes:
        raise header_damaged(shard, f"the file has {size_bytes} bytes, expected {position}")

"""Tensors that lie where the file is mapped.

They are what a model's weight loader is given: every operation on them is right, because the kernel brings in what is
touched. Copies of them are made another way (see `copying`), so that hardly a page of the mapping is ever touched.
"""

from __future__ import annotations

import mmap
import weakref
from math import prod
from typing import Any

import torch  # type: ignore[import-not-found]

from .cached import all_cached
from .header import Place, Shard
from .pace import Pace
from .shardfile import ShardFile

DTYPES = {
    "BOOL": torch.bool, "U8": torch.uint8, "I8": torch.int8, "U16": torch.uint16, "I16": torch.int16,
    "U32": torch.uint32, "I32": torch.int32, "U64": torch.uint64, "I64": torch.int64,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "F8_E8M0": torch.float8_e8m0fnu,
    "F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64,
}  # fmt: skip
# Python's mmap names it from 3.12 on. Pages of ours are written only where a loader works in place: do not ask for all.
MAP_NORESERVE = 0x4000
PAGE_BYTES = mmap.PAGESIZE


class Held:
    """A tensor of an open shard, as long as something refers to its storage."""

    def __init__(self, file: ShardFile, place: Place, pace: Pace) -> None:
        self.file = file
        self.place = place
        self.pace = pace
        # Pages of the mapping are in use; and no longer what the file holds.
        self.touched = False
        self.written = False
        self.reference: Any = None

    @property
    def begin(self) -> int:
        """Its position in the stream."""
        return self.file.shard.first + self.place.begin

    @property
    def end(self) -> int:
        return self.file.shard.first + self.place.end

    def is_there(self, begin: int, size: int) -> bool:
        """No disk is needed for these bytes of the file: they have been read, or the page cache has them anyway."""
        if self.pace.board.reader >= self.file.shard.first + begin + size:
            return True
        return all_cached(self.file.descriptor, begin, size)


class Holdings:
    """All tensors of a load that are alive, by the address at which their storage begins."""

    def __init__(self) -> None:
        self.by_address: dict[int, Held] = {}
        self.files: list[ShardFile] = []

    def open(self, shard: Shard, pace: Pace) -> OpenShard:
        file = ShardFile(shard)
        self.files.append(file)
        return OpenShard(self, file, pace)

    def find(self, value: Any) -> Held | None:
        """The tensor whose bytes ``value`` is a view of."""
        if not isinstance(value, torch.Tensor) or value.device.type != "cpu" or not self.by_address:
            return None
        try:
            return self.by_address.get(value.untyped_storage().data_ptr())
        except RuntimeError:
            # Tensors without storage of their own, such as functional ones: none of ours.
            return None

    def close(self) -> None:
        for file in self.files:
            file.close()
        self.files.clear()
        self.by_address.clear()


class OpenShard:
    """A shard that tensors are taken from."""

    def __init__(self, holdings: Holdings, file: ShardFile, pace: Pace) -> None:
        self.holdings = holdings
        self.file = file
        self.pace = pace
        flags = mmap.MAP_PRIVATE | MAP_NORESERVE
        self.mapping = mmap.mmap(
            file.descriptor, file.shard.size_bytes, flags=flags, prot=mmap.PROT_READ | mmap.PROT_WRITE
        )

    def tensor(self, place: Place) -> Any:
        dtype = DTYPES[place.dtype]
        if prod(place.shape) == 0:
            return torch.empty(place.shape, dtype=dtype)
        held = Held(self.file, place, self.pace)
        part = memoryview(self.mapping)[place.begin : place.end]
        flat = torch.frombuffer(part, dtype=dtype)
        address = flat.untyped_storage().data_ptr()
        by_address, mapping = self.holdings.by_address, self.mapping

        def freed(_: object) -> None:
            if by_address.get(address) is held:
                del by_address[address]
            if held.touched:
                release(mapping, place)

        # The storage keeps `part` for as long as anybody has a view of it.
        held.reference = weakref.ref(part, freed)
        by_address[address] = held
        return flat.reshape(place.shape)


def release(mapping: mmap.mmap, place: Place) -> None:
    """Pages of this tensor alone; mapped ones would stay in the page cache."""
    first = -(-place.begin // PAGE_BYTES) * PAGE_BYTES
    end = place.end // PAGE_BYTES * PAGE_BYTES
    if end > first:
        mapping.madvise(mmap.MADV_DONTNEED, first, end - first)

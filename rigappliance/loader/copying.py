"""Copies out of the file without touching its mapping: no page faults, no jumping, no signal when the file shrinks."""

from __future__ import annotations

import ctypes
from typing import Any

import torch  # type: ignore[import-not-found]

from .held import Held
from .pieces import Block, Runs, blocks, row_major, runs

# A read of one row costs about what copying this much costs (1 to 2 µs, at 4 GB/s; measured on two virtual cores).
WORTH_A_READ_BYTES = 8192
# Rows that follow each other come in one read, and cost a slice of a buffer each.
WORTH_A_SLICE_BYTES = 2048


class Copier:
    """``copy(target, source, held)`` is ``target.copy_(source)`` where ``source`` is a view of ``held``."""

    def __init__(self) -> None:
        self._bounces: dict[bool, Any] = {}

    def copy(self, target: Any, source: Any, held: Held) -> None:
        if source.shape != target.shape:
            source = source.expand(target.shape)
        item = source.element_size()
        base = held.place.begin + source.storage_offset() * item
        direct = target.device.type == "cpu" and target.dtype == source.dtype
        for block in blocks(source.shape, source.stride(), held.pace.piece_bytes // item):
            part = narrowed(target, block)
            offset = base + block.offset * item
            begin = held.file.shard.first + offset
            held.pace.wait(begin, begin + block.span * item)
            strides = part.stride() if direct else row_major(block.sizes)
            found = runs(block.sizes, source.stride(), strides)
            if found is None or not worth_reading_by_run(found, item):
                self._cover(part, source, block, held, offset)
            elif direct:
                read_runs(memory_of(part), found, item, held, offset)
            else:
                bounce = self._bounce(part, held.pace.piece_bytes)
                read_runs(memory_of(bounce), found, item, held, offset)
                count = part.numel()
                part.copy_(bounce[: count * item].view(source.dtype).view(block.sizes))

    def _cover(self, part: Any, source: Any, block: Block, held: Held, offset: int) -> None:
        """All bytes from the block's first to its last, and then what is wanted of them."""
        size = block.span * source.element_size()
        bounce = self._bounce(part, max(size, held.pace.piece_bytes))
        held.file.fill([memory_of(bounce)[:size]], offset, held.place.name)
        whole = bounce[:size].view(source.dtype)
        part.copy_(torch.as_strided(whole, block.sizes, source.stride()))

    def _bounce(self, part: Any, size: int) -> Any:
        pinned = part.device.type == "cuda"
        if pinned not in self._bounces or self._bounces[pinned].numel() < size:
            self._bounces[pinned] = torch.empty(size, dtype=torch.uint8, device="cpu", pin_memory=pinned)
        return self._bounces[pinned]


def worth_reading_by_run(found: Runs, item: int) -> bool:
    if found.count == 1:
        return True
    if found.adjacent:
        return found.length * item >= WORTH_A_SLICE_BYTES
    return found.extent * item >= found.count * WORTH_A_READ_BYTES


def read_runs(memory: memoryview, found: Runs, item: int, held: Held, offset: int) -> None:
    """Runs that follow each other in the file come in one read."""
    size = found.length * item
    buffers: list[memoryview] = []
    begin = end = 0
    for at, to in found.places():
        if at != end:
            held.file.fill(buffers, offset + begin * item, held.place.name)
            buffers, begin = [], at
        buffers.append(memory[to * item : to * item + size])
        end = at + found.length
    held.file.fill(buffers, offset + begin * item, held.place.name)


def narrowed(target: Any, block: Block) -> Any:
    for dim, (start, size) in enumerate(zip(block.starts, block.sizes, strict=True)):
        if size != target.shape[dim]:
            target = target.narrow(dim, start, size)
    return target


def memory_of(tensor: Any) -> memoryview:
    """From its first element to its last, to write to; the caller keeps the tensor."""
    extent = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    count = extent * tensor.element_size()
    return memoryview((ctypes.c_char * count).from_address(tensor.data_ptr())).cast("B")

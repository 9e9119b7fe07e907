"""Copies out of the file without touching its mapping: no page faults, no jumping, no signal when the file shrinks."""

from __future__ import annotations

import ctypes
from typing import Any

import torch  # type: ignore[import-not-found]

from .held import Held
from .pieces import Block, Runs, blocks, row_major, runs

# A read of one row costs about what copying this much costs (0.6 µs, at 7 GB/s; measured on two virtual cores).
WORTH_A_READ_BYTES = 4096
# Rows that follow each other come in one read, and cost a slice of a buffer each.
WORTH_A_SLICE_BYTES = 2048
# What is read only to take a part of it is still in the processor's cache when that is taken.
COVER_BYTES = 1024 * 1024


class Copier:
    """``copy(target, source, held)`` is ``target.copy_(source)`` where ``source`` is a view of ``held``."""

    def __init__(self) -> None:
        self._bounces: dict[bool, tuple[Any, memoryview]] = {}

    def copy(self, target: Any, source: Any, held: Held) -> None:
        if source.shape != target.shape:
            source = source.expand(target.shape)
        if 0 in source.shape:
            return
        item = source.element_size()
        base = held.place.begin + source.storage_offset() * item
        direct = target.device.type == "cpu" and target.dtype == source.dtype
        by_run = self._by_run(source, target.stride() if direct else row_major(source.shape), item)
        extent = 1 + sum((size - 1) * stride for size, stride in zip(source.shape, source.stride(), strict=True))
        is_there = held.is_there(base, extent * item)
        limit = held.pace.piece_bytes
        if direct:
            # What it waits for it takes in small pieces, to be at work meanwhile; the rest in large ones.
            limit = min(limit, COVER_BYTES) if not by_run else max(limit, held.pace.step) if is_there else limit
        for block in blocks(source.shape, source.stride(), limit // item):
            part = narrowed(target, block)
            offset = base + block.offset * item
            begin = held.file.shard.first + offset
            if is_there:
                held.pace.passing(begin)
            else:
                held.pace.wait(begin, begin + block.span * item)
            strides = part.stride() if direct else row_major(block.sizes)
            found = runs(block.sizes, source.stride(), strides) if by_run else None
            if found is None:
                self._cover(part, source, block, held, offset)
            elif direct:
                read_runs(memory_of(part), found, item, held, offset)
            else:
                bounce, memory = self._bounce(part, held.pace.piece_bytes)
                read_runs(memory, found, item, held, offset)
                count = part.numel()
                part.copy_(bounce[: count * item].view(source.dtype).view(block.sizes))

    def _by_run(self, source: Any, strides: tuple[int, ...], item: int) -> bool:
        found = runs(source.shape, source.stride(), strides)
        return found is not None and worth_reading_by_run(found, item)

    def _cover(self, part: Any, source: Any, block: Block, held: Held, offset: int) -> None:
        """All bytes from the block's first to its last, and then what is wanted of them."""
        size = block.span * source.element_size()
        bounce, memory = self._bounce(part, max(size, held.pace.piece_bytes))
        held.file.fill([memory[:size]], offset, held.place.name)
        whole = bounce[:size].view(source.dtype)
        part.copy_(torch.as_strided(whole, block.sizes, source.stride()))

    def _bounce(self, part: Any, size: int) -> tuple[Any, memoryview]:
        pinned = part.device.type == "cuda"
        if pinned not in self._bounces or self._bounces[pinned][0].numel() < size:
            made = torch.empty(size, dtype=torch.uint8, device="cpu", pin_memory=pinned)
            self._bounces[pinned] = made, memory_of(made)
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
    if found.dims and found.dims[-1][1] != found.length:
        held.file.fill_each(memory, size, found.places(item, offset), held.place.name)
        return
    buffers: list[memoryview] = []
    begin = end = offset
    for at, to in found.places(item, offset):
        if at != end:
            held.file.fill(buffers, begin, held.place.name)
            buffers, begin = [], at
        buffers.append(memory[to : to + size])
        end = at + size
    held.file.fill(buffers, begin, held.place.name)


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

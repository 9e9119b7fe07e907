"""How a view of a tensor is taken out of a file: in blocks of bounded span, each as runs of adjacent elements.

Sizes, strides and offsets are in elements, as torch has them; nothing here needs torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod


@dataclass(frozen=True)
class Block:
    """Part of a view: where it starts in each dimension, its sizes, and the elements from its first to its last."""

    starts: tuple[int, ...]
    sizes: tuple[int, ...]
    offset: int
    span: int


@dataclass(frozen=True)
class Runs:
    """``length`` adjacent elements each, on both sides; ``dims``: size, file stride and memory stride of the rest."""

    length: int
    dims: tuple[tuple[int, int, int], ...]

    @property
    def count(self) -> int:
        return prod(size for size, _, _ in self.dims)

    @property
    def extent(self) -> int:
        """Elements of the file from the first to the last."""
        return self.length + sum((size - 1) * stride for size, stride, _ in self.dims)

    @property
    def adjacent(self) -> bool:
        """All follow each other in the file without a gap."""
        return self.extent == self.count * self.length

    def places(self, item: int = 1, offset: int = 0) -> Iterable[tuple[int, int]]:
        """Where each begins, in the file's order: in the file, which starts at ``offset``, and in memory.

        In units of which an element has ``item``.
        """
        steps = [(size, stride * item, memory * item) for size, stride, memory in self.dims]
        if not steps:
            return [(offset, 0)]
        # Rows of a matrix are what there is most of: no list of tens of thousands is made for them.
        size, stride, memory = steps.pop()
        found: Iterable[tuple[int, int]] = (
            zip(range(offset, offset + size * stride, stride), range(0, size * memory, memory), strict=True)
            if stride and memory
            else [(offset + i * stride, i * memory) for i in range(size)]
        )
        for size, stride, memory in reversed(steps):
            inner = list(found)
            found = [(at + i * stride, to + i * memory) for i in range(size) for at, to in inner]
        return found


def blocks(sizes: Sequence[int], strides: Sequence[int], limit: int) -> Iterator[Block]:
    """Cut along the largest stride until no block spans more than ``limit`` elements; nothing for an empty view."""
    if 0 not in sizes:
        yield from cut((0,) * len(sizes), tuple(sizes), tuple(strides), limit)


def cut(starts: tuple[int, ...], sizes: tuple[int, ...], strides: tuple[int, ...], limit: int) -> Iterator[Block]:
    span = 1 + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))
    along = max((i for i, size in enumerate(sizes) if size > 1), key=lambda i: strides[i], default=-1)
    if span <= limit or along < 0 or strides[along] == 0:
        offset = sum(start * stride for start, stride in zip(starts, strides, strict=True))
        yield Block(starts, sizes, offset, span)
        return
    inner = span - (sizes[along] - 1) * strides[along]
    count = max(1, (limit - inner) // strides[along] + 1)
    for first in range(0, sizes[along], count):
        part = min(count, sizes[along] - first)
        yield from cut(replaced(starts, along, starts[along] + first), replaced(sizes, along, part), strides, limit)


def replaced(values: tuple[int, ...], index: int, value: int) -> tuple[int, ...]:
    return (*values[:index], value, *values[index + 1 :])


def runs(sizes: Sequence[int], file_strides: Sequence[int], memory_strides: Sequence[int]) -> Runs | None:
    """The runs that file and memory share, in the file's order; ``None`` where the file is not read forwards."""
    dims = [dim for dim in zip(sizes, file_strides, memory_strides, strict=True) if dim[0] > 1]
    length = 1
    while dims and dims[-1][1] == dims[-1][2] == length:
        length *= dims.pop()[0]
    extent = length
    for size, stride, _ in reversed(dims):
        # Smaller, and it would run back or over what is read already.
        if stride < extent:
            return None
        extent += stride * (size - 1)
    return Runs(length, tuple(dims))


def row_major(sizes: Sequence[int]) -> tuple[int, ...]:
    """Strides of a tensor without gaps."""
    strides, step = [], 1
    for size in reversed(sizes):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))

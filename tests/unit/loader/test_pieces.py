"""Any view of a tensor, taken in blocks and runs, is what indexing gives."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from rigappliance.loader.pieces import blocks, row_major, runs


@st.composite
def views(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Sizes and strides as narrowing, stepping and permuting give them."""
    full = draw(st.lists(st.integers(1, 5), min_size=0, max_size=4))
    strides = row_major(full)
    steps = [draw(st.integers(1, 3)) for _ in full]
    sizes = [draw(st.integers(1, -(-size // step))) for size, step in zip(full, steps, strict=True)]
    order = draw(st.permutations(range(len(full))))
    return tuple(sizes[i] for i in order), tuple(strides[i] * steps[i] for i in order)


def elements(sizes: tuple[int, ...], strides: tuple[int, ...]) -> list[int]:
    """The offset of every element, in the view's order."""
    indices = itertools.product(*map(range, sizes))
    return [sum(i * stride for i, stride in zip(index, strides, strict=True)) for index in indices]


@settings(max_examples=40, deadline=None)
@given(views(), st.integers(1, 60))
def test_blocks_cover_the_view_once_and_keep_to_the_limit(
    view: tuple[tuple[int, ...], tuple[int, ...]], limit: int
) -> None:
    sizes, strides = view
    found = []
    for block in blocks(sizes, strides, limit):
        offsets = [block.offset + at for at in elements(block.sizes, strides)]
        assert min(offsets) == block.offset and max(offsets) == block.offset + block.span - 1
        assert block.span <= limit
        starts = sum(start * stride for start, stride in zip(block.starts, strides, strict=True))
        assert starts == block.offset
        found.extend(offsets)
    assert sorted(found) == sorted(elements(sizes, strides))


@settings(max_examples=40, deadline=None)
@given(views())
def test_blocks_come_in_the_order_of_the_file_where_dimensions_do_not_interleave(
    view: tuple[tuple[int, ...], tuple[int, ...]],
) -> None:
    sizes, strides = view
    offsets = [block.offset for block in blocks(sizes, strides, 1)]
    assert offsets == sorted(offsets)


@settings(max_examples=60, deadline=None)
@given(views(), st.integers(0, 3))
def test_runs_move_every_element_to_its_place_reading_forwards(
    view: tuple[tuple[int, ...], tuple[int, ...]], gap: int
) -> None:
    sizes, strides = view
    memory = row_major([size + gap for size in sizes])
    found = runs(sizes, strides, memory)
    pairs = sorted(zip(elements(sizes, strides), elements(sizes, memory), strict=True))
    if found is None:
        # Not row by row: some smaller stride stands before a larger one.
        wide = [stride for size, stride in zip(sizes, strides, strict=True) if size > 1]
        assert wide != sorted(wide, reverse=True)
        return
    places = list(found.places())
    assert len(places) == found.count
    assert [(at + i, to + i) for at, to in places for i in range(found.length)] == pairs
    assert found.extent == pairs[-1][0] + 1
    assert found.adjacent == all(b - a == found.length for (a, _), (b, _) in itertools.pairwise(places))


def test_a_column_slice_is_one_run_a_row_and_a_row_slice_one_run() -> None:
    column = runs((4, 8), (64, 1), (8, 1))
    row = runs((4, 64), (64, 1), (64, 1))
    assert column is not None and (column.length, list(column.places())) == (8, [(0, 0), (64, 8), (128, 16), (192, 24)])
    assert row is not None and (row.length, row.count) == (256, 1)


def test_an_empty_view_has_no_blocks() -> None:
    assert list(blocks((3, 0), (1, 1), 10)) == []

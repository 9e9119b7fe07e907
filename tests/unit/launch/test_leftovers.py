"""What another engine of the same user holds is never removed, however it came to be."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from multiprocessing import shared_memory
from multiprocessing.synchronize import Semaphore

import pytest

from rigappliance.launch.leftovers import SHARED_MEMORY, remove_shared_memory, shared_memory_names


@pytest.fixture
def before() -> frozenset[str]:
    return shared_memory_names()


@pytest.fixture
def semaphore(before: frozenset[str]) -> Iterator[Semaphore]:
    # Only "spawn" keeps the name, for the child that will open it.
    yield multiprocessing.get_context("spawn").Semaphore()


def test_a_semaphore_that_only_its_creator_maps_is_kept(before: frozenset[str], semaphore: Semaphore) -> None:
    """glibc creates it under a passing name, which is the one that the creator's map shows."""
    names = {name for name in shared_memory_names() - before if name.startswith("sem.mp-")}
    assert len(names) == 1
    assert remove_shared_memory(before) == []
    assert names <= shared_memory_names()


def test_a_segment_is_kept_while_it_is_open_and_removed_after(before: frozenset[str]) -> None:
    segment = shared_memory.SharedMemory(create=True, size=4096)
    assert remove_shared_memory(before) == []
    segment.close()
    assert remove_shared_memory(before) == [segment.name]
    assert not (SHARED_MEMORY / segment.name).exists()


def test_names_that_no_engine_makes_are_kept(before: frozenset[str]) -> None:
    other = SHARED_MEMORY / "somebody-elses-file"
    other.touch()
    try:
        assert remove_shared_memory(before) == []
        assert other.exists()
    finally:
        other.unlink()

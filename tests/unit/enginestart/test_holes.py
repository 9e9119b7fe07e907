"""Free places of Python's allocator, filled before a fork."""

from __future__ import annotations

import subprocess
import sys

import pytest

from rigappliance.enginestart import holes

# Every second of many objects freed: thousands of free places, in a process of its own.
SCATTERED = """
import sys
from rigappliance.enginestart import holes
objects = [[bytes(size) for _ in range(4000)] for size in range(20, 470, 16)]
for each in objects:
    del each[::2]
def free():
    return sum(size * count for size, count in holes.free_places(holes.allocator_statistics()).items())
before = free()
filled = holes.fill()
print(before, filled, free())
print("said", file=sys.stderr)
"""


def test_hardly_a_place_is_left() -> None:
    done = subprocess.run([sys.executable, "-c", SCATTERED], capture_output=True, text=True, check=True)
    before, filled, after = map(int, done.stdout.split())
    assert before > 5_000_000 and filled > 40_000
    assert after < before / 10
    # Standard error is where it was, and nothing else was said.
    assert done.stderr == "said\n"


def test_statistics_of_another_kind_fill_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert holes.free_places("class   size   num pools\n-----\n") == {}
    monkeypatch.delattr(sys, "_debugmallocstats")
    assert holes.fill() == 0

"""Who keeps the clock right."""

from __future__ import annotations

import ctypes
import time
from pathlib import Path

from rigappliance.facts import clock
from rigappliance.facts.clock import kernel_synchronised, read_clock
from tests.unit.facts.test_kernel import write


def test_timesyncd_leaves_a_file(tmp_path: Path) -> None:
    assert read_clock(tmp_path).synchronised is None
    assert read_clock(write(tmp_path, {clock.TIMESYNC: ""})).synchronised is True


def test_the_time_is_now(tmp_path: Path) -> None:
    assert abs(read_clock(tmp_path).now - time.time()) < 5


def test_the_kernels_word_agrees_with_its_return_value() -> None:
    """adjtimex(2) returns TIME_ERROR (5) for a clock that nobody synchronises, besides the bit of its status."""
    state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(clock.TIMEX_BYTES))
    assert kernel_synchronised() is (state != 5)

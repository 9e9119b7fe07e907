"""Timing a disk: how much is read, and in which place in line."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from rigappliance.facts import diskspeed
from rigappliance.facts.diskspeed import BLOCK_BYTES, DiskSpeed, idle, measure


@pytest.mark.parametrize(
    ("size", "limit", "expected"),
    [(BLOCK_BYTES + 5, 1 << 30, BLOCK_BYTES + 5), (3 * BLOCK_BYTES, 2 * BLOCK_BYTES + 1, 2 * BLOCK_BYTES + 1)],
)
def test_no_more_is_read_than_there_is_or_than_allowed(tmp_path: Path, size: int, limit: int, expected: int) -> None:
    file = tmp_path / "shard"
    file.write_bytes(b"x" * size)
    speed = measure(file, limit)
    assert (speed.read_bytes, speed.problem) == (expected, None)
    assert speed.bytes_s == pytest.approx(expected / speed.duration_s)


def test_a_disk_that_never_answers_is_left_alone_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "shard"
    file.write_bytes(b"x" * 3 * BLOCK_BYTES)
    monkeypatch.setattr(diskspeed, "TIME_S", 0.0)
    assert measure(file).problem == "there is nothing to read in it"


@pytest.mark.parametrize(
    ("content", "problem"), [(None, "No such file or directory"), (b"", "there is nothing to read")]
)
def test_what_cannot_be_read_is_a_problem_and_no_speed(tmp_path: Path, content: bytes | None, problem: str) -> None:
    if content is not None:
        (tmp_path / "shard").write_bytes(content)
    speed = measure(tmp_path / "shard")
    assert speed.problem
    assert speed.problem.startswith(problem)
    assert speed.bytes_s == 0


@pytest.mark.parametrize(
    "usual", [(psutil.IOPRIO_CLASS_NONE, None), (psutil.IOPRIO_CLASS_BE, 2)], ids=["unset", "best effort 2"]
)
def test_it_is_last_in_line_meanwhile_and_back_afterwards(usual: tuple[int, int | None]) -> None:
    own = psutil.Process()
    own.ionice(*usual)
    before = own.ionice()
    try:
        with pytest.raises(OSError, match="broken"), idle():
            assert own.ionice().ioclass == psutil.IOPRIO_CLASS_IDLE
            raise OSError("broken")
        assert own.ionice() == before
    finally:
        own.ionice(psutil.IOPRIO_CLASS_NONE)


def test_no_time_is_no_speed() -> None:
    assert DiskSpeed("x", 5, 0.0).bytes_s == 0

"""How often something is said, and that it is right."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from rigappliance.fetch.progress import Progress
from rigappliance.launch.notify import Notifier

MIB = 1024**2


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def run(rate_bytes_per_s: float, total_bytes: int, seconds: int, begun_bytes: int = 0) -> list[tuple[int, str]]:
    """What is said, and after how many seconds, at a steady rate; asked every second second."""
    clock = Clock()
    said: list[tuple[int, str]] = []
    after_s = 0

    def say(line: str) -> None:
        said.append((after_s, line))

    progress = Progress("download", total_bytes, begun_bytes, say, Notifier({}), clock)
    for after_s in range(2, seconds + 1, 2):
        clock.now_s = 1000.0 + after_s
        progress.update(min(total_bytes, begun_bytes + round(rate_bytes_per_s * after_s)))
    return said


def test_sizes_share_rate_and_time_left() -> None:
    said = run(50 * MIB, 77000 * MIB, 60)
    assert said[0] == (16, "download: 800.0 MiB of 75.2 GiB (1 %), 50.0 MiB/s, 25 min 24 s left")


def test_the_bytes_of_earlier_calls_count_for_the_share_and_not_for_the_rate() -> None:
    (after_s, line), *_ = run(10 * MIB, 1000 * MIB, 11, begun_bytes=500 * MIB)
    assert (after_s, line) == (10, "download: 600.0 MiB of 1000.0 MiB (60 %), 10.0 MiB/s, 40 s left")


@pytest.mark.parametrize(
    ("rate_bytes_per_s", "times"),
    [
        # A percent is worth a line, but none comes sooner than after ten seconds.
        (500 * MIB, [10, 20, 30, 40]),
        (50 * MIB, [16, 32]),
        # And a minute is one too long without.
        (1 * MIB, [60, 120]),
        (0, [60, 120]),
    ],
)
def test_how_often(rate_bytes_per_s: int, times: list[int]) -> None:
    said = run(rate_bytes_per_s, 77000 * MIB, 130 if rate_bytes_per_s <= MIB else 41)
    assert [after_s for after_s, _ in said] == times


def test_standing_still_promises_nothing() -> None:
    assert run(0, 1000 * MIB, 60, begun_bytes=500 * MIB)[-1][1] == "download: 500.0 MiB of 1000.0 MiB (50 %), 0 B/s"


def test_the_rate_is_that_of_the_last_minute() -> None:
    clock = Clock()
    progress = Progress("download", 10_000 * MIB, 0, lambda _: None, Notifier({}), clock)
    done = 0
    for rate in [100 * MIB] * 100 + [1 * MIB] * 70:
        clock.now_s += 2
        done += 2 * rate
        progress.update(done)
    assert progress.rate_bytes_per_s == pytest.approx(MIB, rel=0.01)


def test_systemd_hears_more_often(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        clock = Clock()
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
        progress = Progress("verification", 100 * MIB, 0, lambda _: None, notifier, clock)
        for done in range(8):
            progress.update(done * MIB)
            clock.now_s += 1
        received = [manager.recv(1 << 16).decode() for _ in range(4)]
        with pytest.raises(BlockingIOError):
            manager.recv(1)
    assert received[-1] == "STATUS=verification: 6.0 MiB of 100.0 MiB (6 %), 1.0 MiB/s, 1 min 34 s left"

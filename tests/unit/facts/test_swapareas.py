"""Pieces of a swap file, counted by the file system."""

from __future__ import annotations

from pathlib import Path

from rigappliance.facts.host import SwapDevice
from rigappliance.facts.swapareas import SwapPieces, count_extents, read_swap_pieces


def test_files_alone_are_looked_at() -> None:
    devices = (SwapDevice("/swap", "file", 10, 0, 5), SwapDevice("/dev/sda3", "partition", 20, 0, 1))
    assert read_swap_pieces(devices, lambda _: 7) == (SwapPieces("/swap", 10, 7),)


def test_one_that_may_not_be_opened_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/hostname")
    assert count_extents(tmp_path / "link") is None
    assert count_extents(tmp_path / "missing") is None


def test_a_file_written_in_one_go_has_few_pieces(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 100_000)
    count = count_extents(tmp_path / "file")
    # None on a file system that does not tell.
    assert count is None or 0 <= count < 25

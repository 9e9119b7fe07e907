"""The state directory: writable or creatable, with room, and untouched by the check."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rigappliance.preflight.state import check_state
from tests.unit.preflight.rig import GIB, disk, of, severities


def test_a_directory_that_exists_passes(tmp_path: Path) -> None:
    assert severities(check_state(tmp_path, disk())) == {"ok"}


def test_one_that_can_be_made_passes_and_is_not_made(tmp_path: Path) -> None:
    finding = of(check_state(tmp_path / "a/b", disk()), "state.writable")
    assert finding.severity == "ok"
    assert "can be created" in finding.found
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("below", ["", "deeper"])
def test_a_file_in_the_way_fails(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("")
    assert of(check_state(tmp_path / "file" / below, disk()), "state.writable").severity == "fail"


def test_a_directory_of_someone_else_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Not with chmod: root writes where it likes.
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    assert of(check_state(tmp_path / "x", disk()), "state.writable").severity == "fail"


@pytest.mark.parametrize(("free_bytes", "severity"), [(2 * GIB, "ok"), (2 * GIB - 1, "warn"), (None, "warn")])
def test_two_gibibytes_are_wanted(tmp_path: Path, free_bytes: int | None, severity: str) -> None:
    assert of(check_state(tmp_path, disk(free_bytes)), "state.space").severity == severity

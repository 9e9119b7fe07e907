"""Status: what is declared against what is, without a change and for every user."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rigappliance.swapfile import Report, report
from rigappliance.swapfile.declared import Declared
from tests.unit.swapfile.host import MIB, Host, untouched


def shown(host: Host, size_bytes: int = 8 * MIB, priority: int = 10) -> Report:
    return report(host.declared(size_bytes, priority), host.machine)


def test_nothing_there(host: Host) -> None:
    found = shown(host)
    assert found.as_dict() == {
        "file": str(host.file),
        "declared_bytes": 8 * MIB,
        "declared_priority": 10,
        "filesystem": "ext4",
        "size_bytes": None,
        "mode": None,
        "extents": None,
        "active": False,
        "used_bytes": None,
        "priority": None,
        "partial_bytes": None,
        "problem": None,
        "as_declared": False,
    }


def test_active_as_declared(host: Host) -> None:
    host.on()
    host.swaps.write_text(host.swaps.read_text().replace("\t0\t", "\t1024\t"))
    with untouched(host.file):
        found = shown(host)
    assert (found.size_bytes, found.mode, found.active, found.used_bytes, found.priority) == (
        8 * MIB,
        "0600",
        True,
        MIB,
        10,
    )
    assert found.extents is None or found.extents >= 1
    assert (found.problem, found.as_declared) == (None, True)


@pytest.mark.parametrize(("size", "priority"), [(4 * MIB, 10), (8 * MIB, 11), (0, 10)])
def test_active_in_another_way(host: Host, size: int, priority: int) -> None:
    host.on()
    found = shown(host, size, priority)
    assert (found.active, found.as_declared) == (True, False)


def test_there_and_not_active(host: Host) -> None:
    host.on()
    host.reboot()
    found = shown(host)
    assert (found.size_bytes, found.active, found.as_declared) == (8 * MIB, False, False)


def test_none_declared_and_none_active_is_as_declared(host: Host) -> None:
    host.mount("overlay")
    found = shown(host, 0)
    assert (found.as_declared, found.problem) == (True, None)


def test_begun(host: Host) -> None:
    host.partial.write_bytes(bytes(3 * MIB))
    os.truncate(host.partial, 6 * MIB)
    found = shown(host)
    assert found.partial_bytes == 3 * MIB


@pytest.mark.parametrize("kind", ["tmpfs", "overlay"])
def test_a_place_that_cannot_be_is_the_problem(host: Host, kind: str) -> None:
    host.mount(kind)
    found = shown(host)
    assert f"lies on {kind}" in (found.problem or "")
    assert found.filesystem == kind


def test_a_file_that_is_no_swap_area_is_the_problem(host: Host) -> None:
    host.file.write_text("data")
    with untouched(host.file):
        found = shown(host)
    assert "is no swap area" in (found.problem or "")
    assert (found.size_bytes, found.as_declared) == (4, False)


def test_a_directory_that_is_missing_is_the_problem(host: Host) -> None:
    found = report(Declared(host.directory / "missing/swap", 8 * MIB, 10), host.machine)
    assert "No such file or directory" in (found.problem or "")


def test_who_may_not_look_inside_still_sees_the_rest(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.on()
    real = os.open

    def forbidden(path: Path, *rest: int) -> int:
        if Path(path) == host.file:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *rest)

    monkeypatch.setattr(os, "open", forbidden)
    found = shown(host)
    assert (found.extents, found.problem, found.size_bytes, found.as_declared) == (None, None, 8 * MIB, True)

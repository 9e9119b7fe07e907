"""A file that exists is a good swap file, or it is refused by its name; either way not a byte of it changes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from rigappliance.errors import PreflightError
from rigappliance.swapfile import area
from rigappliance.swapfile.area import Header, check_area, header_fault, open_file, read_header
from rigappliance.swapfile.declared import PAGE_BYTES
from rigappliance.swapfile.extents import Extent
from rigappliance.swapfile.programs import find_program
from tests.unit.swapfile.host import MIB, Host, untouched


def swap_area(path: Path, size: int = 4 * MIB, *options: str) -> None:
    path.write_bytes(bytes(size))
    path.chmod(0o600)
    subprocess.run([find_program("mkswap"), *options, str(path)], check=True, capture_output=True)


def header_of(path: Path) -> Header | None:
    with path.open("rb") as file:
        return read_header(file.fileno())


def test_the_header_that_mkswap_writes(tmp_path: Path) -> None:
    swap_area(tmp_path / "swap")
    assert header_of(tmp_path / "swap") == Header(PAGE_BYTES, 1, 4 * MIB // PAGE_BYTES)


def test_a_header_for_larger_pages(tmp_path: Path) -> None:
    swap_area(tmp_path / "swap", 4 * MIB, "--pagesize", "65536")
    header = header_of(tmp_path / "swap")
    assert header == Header(65536, 1, 64)
    assert "was made for pages of 65536 bytes" in (header_fault(header, 4 * MIB) or "")


@pytest.mark.parametrize("content", [b"", b"short", bytes(1 * MIB), os.urandom(MIB)])
def test_other_files_have_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    assert header_of(tmp_path / "file") is None


@pytest.mark.parametrize(
    ("header", "size", "fault"),
    [
        (Header(PAGE_BYTES, 1, 1024), 1024 * PAGE_BYTES, None),
        (Header(PAGE_BYTES, 1, 1024), 1024 * PAGE_BYTES + 100, None),
        (Header(PAGE_BYTES, 1, 1024), 1023 * PAGE_BYTES, "its header says"),
        (Header(PAGE_BYTES, 1, 1024), 1025 * PAGE_BYTES, "its header says"),
        (Header(PAGE_BYTES, 0, 1024), 1024 * PAGE_BYTES, "version 0 instead of 1"),
    ],
)
def test_header_against_file(header: Header, size: int, fault: str | None) -> None:
    found = header_fault(header, size)
    assert found is None if fault is None else fault in (found or "")


def cut(path: Path) -> None:
    swap_area(path)
    os.truncate(path, 3 * MIB)


def grown(path: Path) -> None:
    swap_area(path)
    with path.open("ab") as file:
        file.write(bytes(MIB))


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(4 * MIB)
    path.chmod(0o600)
    subprocess.run([find_program("mkswap"), str(path)], check=True, capture_output=True)


def holed(path: Path) -> None:
    swap_area(path)
    with path.open("r+b") as file:
        file.truncate(2 * MIB)
        file.truncate(4 * MIB)


def data(path: Path) -> None:
    path.write_bytes(os.urandom(4 * MIB))


def hibernated(path: Path) -> None:
    """The kernel puts its own signature in place of mkswap's over an image of the whole memory."""
    swap_area(path)
    with path.open("r+b") as file:
        file.seek(PAGE_BYTES - 10)
        file.write(b"S1SUSPEND\0")


@pytest.mark.parametrize(
    ("arrange", "words"),
    [
        (data, "exists and is no swap area: it was not touched"),
        (Path.touch, "exists and is no swap area: it was not touched"),
        (hibernated, "exists and is no swap area: it was not touched"),
        (cut, "its header says 4.0 MiB, and the file has 3.0 MiB"),
        (grown, "its header says 4.0 MiB, and the file has 5.0 MiB"),
        (sparse, "it has a hole at"),
        (holed, "it has a hole at 2.0 MiB"),
    ],
)
def test_refused_and_untouched(host: Host, arrange: Callable[[Path], None], words: str) -> None:
    arrange(host.file)
    with untouched(host.file), pytest.raises(PreflightError) as caught:
        host.on(4 * MIB)
    assert words in caught.value.found
    assert caught.value.remedy
    assert host.programs() == []
    assert list(host.directory.iterdir()) == [host.file]


def test_other_kinds_of_files_are_refused(host: Host) -> None:
    target = host.root / "target"
    swap_area(target)
    host.file.symlink_to(target)
    with untouched(target), pytest.raises(PreflightError, match="is a symbolic link"):
        host.on()
    host.file.unlink()
    host.file.symlink_to(host.root / "nothing")
    with pytest.raises(PreflightError, match="is a symbolic link"):
        host.on()
    host.file.unlink()
    host.file.mkdir()
    with pytest.raises(PreflightError, match="is a directory"):
        host.on()
    host.file.rmdir()
    os.mkfifo(host.file)
    with pytest.raises(PreflightError, match="is no regular file"):
        host.on()
    assert host.programs() == []
    assert not (host.root / "nothing").exists()


def test_another_users_file_is_refused(tmp_path: Path) -> None:
    swap_area(tmp_path / "swap")
    with pytest.raises(PreflightError, match=f"belongs to user {os.geteuid()}, who could read"):
        open_file(tmp_path / "swap", os.geteuid() + 1)


@pytest.mark.parametrize(("flags", "words"), [(0x2000, "shared with another file"), (0x8, "compressed"), (0x800, None)])
def test_layouts_that_swapon_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: int, words: str | None
) -> None:
    swap_area(tmp_path / "swap")
    monkeypatch.setattr(area, "read_extents", lambda fd: [Extent(0, 4 * MIB, flags)])
    with (tmp_path / "swap").open("rb") as file:
        if words is None:
            check_area(file.fileno(), tmp_path / "swap", "ext4")
            return
        with pytest.raises(PreflightError, match=f"a part of it is {words}"):
            check_area(file.fileno(), tmp_path / "swap", "ext4")


@pytest.mark.parametrize("in_place", [True, False])
def test_on_btrfs_it_has_to_be_written_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_place: bool
) -> None:
    swap_area(tmp_path / "swap")
    monkeypatch.setattr("rigappliance.swapfile.btrfs.read_flags", lambda fd: 0x00800000 if in_place else 0)
    with (tmp_path / "swap").open("rb") as file:
        if in_place:
            check_area(file.fileno(), tmp_path / "swap", "btrfs")
            return
        with pytest.raises(PreflightError, match="attribute C is not set"):
            check_area(file.fileno(), tmp_path / "swap", "btrfs")

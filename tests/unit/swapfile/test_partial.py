"""An unfinished file is taken up if it is one of ours, and left alone if it is not."""

from __future__ import annotations

import os
import subprocess

import pytest

from rigappliance.errors import PreflightError
from rigappliance.swapfile.declared import PAGE_BYTES
from rigappliance.swapfile.partial import is_ours, open_partial
from rigappliance.swapfile.programs import find_program
from tests.unit.swapfile.host import MIB, Host, untouched

ME = os.geteuid()


def header() -> bytes:
    """The first page as mkswap writes it, read back from a file."""
    from tempfile import NamedTemporaryFile

    with NamedTemporaryFile() as file:
        file.truncate(MIB)
        subprocess.run([find_program("mkswap"), "-L", "a label", file.name], check=True, capture_output=True)
        return file.read(PAGE_BYTES)


def test_zeros_and_any_part_of_a_header_are_ours() -> None:
    """A disk writes sectors of 512 bytes, in any order, until the power is gone."""
    whole = header()
    assert is_ours(b"")
    assert is_ours(bytes(100))
    assert is_ours(bytes(PAGE_BYTES))
    assert is_ours(whole)
    sectors = range(0, PAGE_BYTES, 512)
    assert sum(any(whole[at : at + 512]) for at in sectors) == 2
    for lost in sectors:
        assert is_ours(whole[:lost] + bytes(512) + whole[lost + 512 :])


@pytest.mark.parametrize(
    "page",
    [
        b"x",
        b"\0" * 1023 + b"x",
        b"\0" * 2000 + b"x",
        b"\0" * 1068 + b"x" + b"\0" * (PAGE_BYTES - 1069),
        b"\0" * (PAGE_BYTES - 11) + b"x" + b"\0" * 10,
        b"\0" * (PAGE_BYTES - 10) + b"S1SUSPEND\0",
    ],
)
def test_anything_else_is_somebodys(page: bytes) -> None:
    assert not is_ours(page)


@pytest.mark.parametrize("content", [b"somebody's data", bytes(1024) + b"data" * 5000])
def test_somebodys_file_of_that_name_is_left_alone(host: Host, content: bytes) -> None:
    host.partial.write_bytes(content)
    with untouched(host.partial), pytest.raises(PreflightError, match="no unfinished swap file") as caught:
        host.on()
    assert "move it away" in caught.value.remedy
    assert list(host.directory.iterdir()) == [host.partial]


def test_links_and_other_kinds_are_refused(host: Host) -> None:
    target = host.root / "target"
    target.write_bytes(bytes(MIB))
    host.partial.symlink_to(target)
    with untouched(target), pytest.raises(PreflightError, match="could have begun"):
        host.on()
    host.partial.unlink()
    host.partial.hardlink_to(target)
    with untouched(target), pytest.raises(PreflightError, match="could have begun"):
        host.on()
    host.partial.unlink()
    os.mkfifo(host.partial)
    with pytest.raises(PreflightError, match="could have begun"):
        host.on()
    assert not host.file.exists()


def test_another_users_is_refused(host: Host) -> None:
    host.partial.write_bytes(bytes(MIB))
    with pytest.raises(PreflightError, match="could have begun"):
        open_partial(host.partial, ME + 1)


def test_one_that_was_opened_to_others_is_closed_to_them(host: Host) -> None:
    host.partial.write_bytes(bytes(MIB))
    host.partial.chmod(0o666)
    host.on()
    assert host.file.stat().st_mode & 0o777 == 0o600


def test_a_new_one_is_closed_to_others_from_the_first_moment(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the umask, and before anything is in it."""
    modes: list[int] = []
    real = os.fchmod

    def fchmod(fd: int, mode: int) -> None:
        modes.append(os.fstat(fd).st_mode & 0o777)
        real(fd, mode)

    monkeypatch.setattr(os, "fchmod", fchmod)
    before = os.umask(0)
    try:
        host.on()
    finally:
        os.umask(before)
    assert modes == [0o600]

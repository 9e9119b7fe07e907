"""A place that nobody but root can change, and none that somebody else can."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rigappliance.errors import PreflightError
from rigappliance.swapfile.place import check_directory, check_link, safe_place

ME = os.geteuid()


def test_links_of_directories_are_followed(tmp_path: Path) -> None:
    (tmp_path / "data/lib").mkdir(parents=True)
    (tmp_path / "var").symlink_to("data")
    (tmp_path / "data/again").symlink_to(tmp_path / "var/lib")
    assert safe_place(tmp_path / "var/again/swap", ME) == tmp_path.resolve() / "data/lib/swap"
    assert safe_place(tmp_path / "var/lib/../lib/swap", ME) == tmp_path.resolve() / "data/lib/swap"


def test_the_last_part_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "swap").symlink_to("/etc/passwd")
    assert safe_place(tmp_path / "swap", ME).name == "swap"


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777])
def test_a_directory_that_others_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    (tmp_path / "open/below").mkdir(parents=True)
    (tmp_path / "open").chmod(mode)
    with pytest.raises(PreflightError, match=f"{tmp_path}/open belongs to user {ME} and has mode 0{mode:o}"):
        safe_place(tmp_path / "open/below/swap", ME)


def test_it_is_refused_behind_a_link_too(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "link").symlink_to("open")
    with pytest.raises(PreflightError, match="others than root could replace"):
        safe_place(tmp_path / "link/swap", ME)


def test_a_sticky_directory_such_as_tmp_is_fine(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp").chmod(0o1777)
    assert safe_place(tmp_path / "tmp/swap", ME).parent.name == "tmp"


@pytest.mark.parametrize("mode", [0o755, 0o1777])
def test_a_directory_of_another_user_is_refused(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    status = tmp_path.lstat()
    values = list(status)
    values[4] = 4711
    with pytest.raises(PreflightError, match="belongs to user 4711"):
        check_directory(tmp_path, os.stat_result(values), tmp_path / "swap", ME)


def test_a_link_of_another_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/")
    values = list((tmp_path / "link").lstat())
    values[4] = 4711
    with pytest.raises(PreflightError, match="symbolic link of user 4711"):
        check_link(tmp_path / "link", os.stat_result(values), tmp_path / "link/swap", ME, 1)


def test_links_that_lead_round_end(tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    with pytest.raises(PreflightError, match="in a circle"):
        safe_place(tmp_path / "one/swap", ME)


def test_a_file_among_the_directories_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PreflightError, match=r"file is no directory"):
        safe_place(tmp_path / "file/swap", ME)

"""A file is the old one or the new one, whatever happens while it is written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rigappliance.errors import PreflightError
from rigappliance.install.files import content, part_of, remove, write_whole
from tests.unit.place import ROOT

# Dies at the named call, as by a power cut as far as other processes can see.
DYING = """
import os, signal, sys
from pathlib import Path
from rigappliance.install.files import write_whole
name = sys.argv[2]
holder = Path if name == "replace" else os
setattr(holder, name, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
write_whole(Path(sys.argv[1]), "new" * 10000)
"""


@pytest.mark.parametrize("call", ["open", "fchmod", "fsync", "replace"])
def test_a_killed_writer_leaves_the_old_file_and_is_no_obstacle(call: str, tmp_path: Path) -> None:
    file = tmp_path / "unit"
    file.write_text("old")
    command = [sys.executable, "-c", DYING, str(file), call]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert file.read_text() == "old"
    write_whole(file, "newer")
    assert file.read_text() == "newer"
    assert list(tmp_path.iterdir()) == [file]


def test_what_a_killed_writer_left_goes_with_the_file(tmp_path: Path) -> None:
    file = tmp_path / "unit"
    file.write_text("old")
    part_of(file).write_text("ne")
    remove(file)
    assert list(tmp_path.iterdir()) == []


def test_a_link_in_the_place_of_the_part_is_not_written_through(tmp_path: Path) -> None:
    file, other = tmp_path / "unit", tmp_path / "other"
    other.write_text("precious")
    part_of(file).symlink_to(other)
    write_whole(file, "new")
    assert (file.read_text(), other.read_text()) == ("new", "precious")


def test_a_failed_writing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(tmp_path / "unit", "new")
    assert list(tmp_path.iterdir()) == []


def test_only_plain_text_files_have_a_content(tmp_path: Path) -> None:
    assert content(tmp_path / "none") is None
    (tmp_path / "file").write_text("x")
    assert content(tmp_path / "file") == "x"
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for name in ("link", "dangling", "binary", "."):
        with pytest.raises(PreflightError):
            content(tmp_path / name)

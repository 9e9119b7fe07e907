"""The steps of a fetch that need no hub."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from rigappliance.cli import run
from rigappliance.errors import BusyError, ExitCode, InterruptedStartError, PreflightError, RequestFailedError
from rigappliance.facts.host import read_disk_facts
from rigappliance.fetch import download
from rigappliance.fetch.download import Movement, arguments, check_space
from rigappliance.fetch.job import Job
from rigappliance.fetch.listing import HubFile
from rigappliance.fetch.lock import NAME as LOCK
from rigappliance.fetch.lock import locked
from rigappliance.fetch.partial import partial_bytes, remove_leftovers
from rigappliance.fetch.record import NAME, Entry, Record, read_record, write_record
from rigappliance.fetch.stop import Stop
from rigappliance.fetch.verify import verify
from rigappliance.launch.notify import Notifier
from tests.unit.fetch.hub import blob_id
from tests.unit.place import ROOT, Place


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job("rig/tiny", "main", tmp_path, tmp_path / "bin/python", {}, lambda _: None, Notifier({}), Stop())


def of(job: Job, **contents: bytes) -> Record:
    """A record of files that are there and were never verified."""
    for name, content in contents.items():
        (job.directory / name).write_bytes(content)
    files = [HubFile(name, len(content), "git-sha1", blob_id(content)) for name, content in contents.items()]
    return Record("rig/tiny", "main", "c0" * 20, tuple(map(Entry, files)))


# --- verify --------------------------------------------------------------------


def test_what_is_right_is_remembered_and_what_is_not_is_named(job: Job) -> None:
    record = of(job, a=b"aaaa", b=b"bbbb", c=b"cccc")
    (job.directory / "b").write_bytes(b"bxbb")
    verified = verify(job, record)
    assert [file.path for file in verified.damaged] == ["b"]
    assert verified.hashed_bytes == 12
    assert read_record(job.directory) == verified.record
    assert [entry.mtime_ns is None for entry in verified.record.entries] == [False, True, False]
    # The next call reads what is not known alone.
    assert verify(job, verified.record).hashed_bytes == 4


def test_a_stop_keeps_what_was_hashed(job: Job) -> None:
    record = of(job, a=b"aaaa", b=b"bbbb")
    real = job.stop.check
    looks = 0

    def check() -> None:
        nonlocal looks
        looks += 1
        # Before a, in a, before b, in b.
        if looks == 4:
            job.stop.request(signal.SIGTERM)
        real()

    job.stop.check = check  # type: ignore[method-assign]
    with pytest.raises(InterruptedStartError):
        verify(job, record)
    kept = read_record(job.directory)
    assert kept is not None
    assert [entry.mtime_ns is None for entry in kept.entries] == [False, True]


def test_a_file_that_cannot_be_read_is_named(job: Job) -> None:
    record = of(job, a=b"aaaa")
    (job.directory / "a").unlink()
    (job.directory / "a").mkdir()
    with pytest.raises(PreflightError, match=f"cannot read {job.directory}/a: Is a directory"):
        verify(job, record)


# --- download ------------------------------------------------------------------


def test_the_space_is_checked_before(tmp_path: Path) -> None:
    disk = replace(read_disk_facts(tmp_path), free_bytes=3 << 30)
    check_space(disk, 3 << 30)
    check_space(replace(disk, free_bytes=None), 1 << 60)
    with pytest.raises(PreflightError) as caught:
        check_space(disk, 5 << 30)
    assert f"{tmp_path} has 3.0 GiB free" in caught.value.found
    assert caught.value.expected.startswith("5.0 GiB")
    assert caught.value.remedy.startswith("free 2.0 GiB")


@pytest.mark.parametrize(("rotational", "workers"), [(True, "1"), (False, "4"), (None, "4")])
def test_a_hard_disk_gets_one_stream(job: Job, rotational: bool | None, workers: str) -> None:
    disk = replace(read_disk_facts(job.directory), rotational=rotational)
    words = arguments(job, "c0" * 20, [HubFile("-x", 1, "sha256", "0" * 64)], disk)
    assert words[words.index("--max-workers") + 1] == workers
    assert words[words.index("--revision") + 1] == "c0" * 20
    # A name is no option.
    assert words[-3:] == ["--", "rig/tiny", "-x"]


def test_standing_still_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "STALL_S", 0.1)
    movement = Movement(0)
    for value in (0, 1, 2):
        time.sleep(0.06)
        movement.check(value)
    time.sleep(0.12)
    with pytest.raises(RequestFailedError, match=r"no byte came for 0\.1 s"):
        movement.check(2)


def test_only_what_hf_never_takes_up_is_removed(tmp_path: Path) -> None:
    begun = tmp_path / ".cache/huggingface/download/extra"
    begun.mkdir(parents=True)
    names = [f"x={'ab' * 32}.0123cdef.incomplete", f"x={'ab' * 32}.incomplete", "x.metadata", "x.lock"]
    for name in names:
        (begun / name).write_bytes(b"12345")
    (tmp_path / "y.0123cdef.incomplete").write_bytes(b"12345")
    assert partial_bytes(tmp_path) == 5
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in begun.iterdir()) == sorted(names[1:])
    assert (tmp_path / "y.0123cdef.incomplete").exists()
    assert partial_bytes(tmp_path) == 0


# --- lock and directory ----------------------------------------------------------


def test_the_lock_names_its_holder_and_ends_with_it(tmp_path: Path) -> None:
    with (
        locked(tmp_path / "new/model"),
        pytest.raises(BusyError, match=rf"\(pid {os.getpid()}\)"),
        locked(tmp_path / "new/model"),
    ):
        raise AssertionError("two at once")
    with locked(tmp_path / "new/model"):
        pass


def test_a_lock_that_was_left_by_a_power_cut_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text("1\n")
    with locked(tmp_path), (tmp_path / LOCK).open() as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(PreflightError, match=r"cannot write to model.path .*/file/model: Not a directory"),
        locked(tmp_path / "file/model"),
    ):
        raise AssertionError("made")


# --- the command -------------------------------------------------------------------


def test_without_the_engine_there_is_nothing_to_download_with(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["fetch", "-c", str(place.config)]) == ExitCode.ENGINE_MISSING
    out, err = capsys.readouterr()
    assert out == ""
    assert f"{place.root}/engine/bin/hf is not there" in err
    # Nothing but the lock's file was added.
    assert not (place.model / NAME).exists()


def whole(place: Place) -> Record:
    """A record of the place's checkpoint as a fetch leaves it."""
    entries = []
    for path in sorted(place.model.iterdir()):
        content, status = path.read_bytes(), path.stat()
        file = HubFile(path.name, len(content), "git-sha1", blob_id(content))
        entries.append(Entry(file, status.st_mtime_ns, status.st_ino))
    record = Record("rig/tiny", "main", "c0" * 20, tuple(entries), "2026-11-23T10:00:00+00:00")
    write_record(place.model, record)
    return record


def test_what_was_verified_needs_neither_network_nor_engine(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.declare({"model": {"repository": "rig/tiny"}})
    record = whole(place)
    before = place.files()
    assert run(["fetch", "-c", str(place.config), "--json"]) == ExitCode.OK
    out, err = capsys.readouterr()
    assert err == ""
    tree = json.loads(out)
    assert tree.pop("seconds") < 5
    assert tree == {
        "repository": "rig/tiny",
        "revision": "main",
        "commit": record.commit,
        "path": str(place.model),
        "files": len(record.entries),
        "total_bytes": record.total_bytes,
        "downloaded_bytes": 0,
        "hashed_bytes": 0,
        "verified": record.verified,
    }
    assert place.files() == before
    assert run(["fetch", "-c", str(place.config)]) == ExitCode.OK
    assert capsys.readouterr().out.endswith(f"rig/tiny@{'c0' * 6}, verified {record.verified}\n")


def test_a_changed_file_is_verified_without_the_hub(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.declare({"model": {"repository": "rig/tiny"}})
    whole(place)
    shard = next(place.model.glob("*.safetensors"))
    os.utime(shard, (0, 0))
    begun = place.model / ".cache/huggingface/download/x.0123cdef.incomplete"
    begun.parent.mkdir(parents=True)
    begun.write_bytes(b"what a power cut left")
    assert run(["fetch", "-c", str(place.config), "--json"]) == ExitCode.OK
    assert not begun.exists()
    assert json.loads(capsys.readouterr().out)["hashed_bytes"] == shard.stat().st_size
    assert run(["fetch", "-c", str(place.config), "--json"]) == ExitCode.OK
    assert json.loads(capsys.readouterr().out)["hashed_bytes"] == 0


def test_a_signal_while_files_are_read(place: Place) -> None:
    """The process that reads leaves within a block, and what it had is kept."""
    place.declare({"model": {"repository": "rig/tiny"}})
    (place.model / "large").write_bytes(bytes(256 << 20))
    record = whole(place)
    write_record(place.model, replace(record, entries=tuple(Entry(one.file) for one in record.entries)))
    process = subprocess.Popen(
        [sys.executable, "-m", "rigappliance", "fetch", "-c", str(place.config)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    deadline = time.monotonic() + 20
    # large comes after config.json and before the shards.
    while (known := read_record(place.model)) is None or known.entries[0].mtime_ns is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=20)
    assert process.returncode == ExitCode.INTERRUPTED
    assert "stopped on SIGTERM" in err
    kept = read_record(place.model)
    assert kept is not None
    assert kept.entries[0].mtime_ns is not None
    assert kept.entries[-1].mtime_ns is None


def test_an_ignored_hang_up_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        stop = Stop()
        with stop.listening():
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.signum is None
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop.signum == signal.SIGINT
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)

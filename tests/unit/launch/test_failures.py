"""The record of failures: whole, bounded, and kept through nonsense and a full disk."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rigappliance.launch import failures, state
from rigappliance.launch.failures import KEPT, Failure, append, mend_all, peek_failures, read_failures
from rigappliance.launch.state import StateDirectory

FAILURE = Failure(
    run_id="f00d",
    started=1700000000.0,
    ended=1700000100.5,
    boot_id="b",
    phase="weights",
    ready=False,
    loaded=False,
    exit_code=62,
    cause="checkpoint-truncated",
    diagnosis={"cause": "checkpoint-truncated", "evidence": [{"source": "engine log", "text": "a\u2028b", "line": 1}]},
    facts={"checkpoint": "abc"},
)
CONTENT = asdict(FAILURE)


@pytest.fixture
def directory(tmp_path: Path) -> StateDirectory:
    return StateDirectory(tmp_path)


def test_what_is_written_is_read_back(directory: StateDirectory) -> None:
    assert read_failures(directory) == []
    assert append(directory, FAILURE)
    second = replace(FAILURE, run_id="beef", attempt=2)
    append(directory, second)
    assert read_failures(directory) == peek_failures(directory) == [FAILURE, second]
    assert [path.name for path in directory.root.iterdir()] == ["failures.jsonl"]


def test_the_oldest_go_first(directory: StateDirectory) -> None:
    for number in range(KEPT + 3):
        append(directory, replace(FAILURE, attempt=number))
    kept = read_failures(directory)
    assert (len(kept), kept[0].attempt, kept[-1].attempt) == (KEPT, 3, KEPT + 2)


def test_a_start_that_gets_ready_mends_all(directory: StateDirectory) -> None:
    mend_all(directory)
    assert not directory.failures_file.exists()
    append(directory, FAILURE)
    append(directory, FAILURE)
    mend_all(directory)
    assert [failure.mended for failure in read_failures(directory)] == [True, True]


def test_a_cause_of_another_version_counts_as_unknown() -> None:
    assert replace(FAILURE, cause="not yet invented").known_cause.name == "unknown"


WRONG: list[dict[str, object]] = [
    {"extra": 1},
    {"started": "today"},
    {"cause": None},
    {"facts": []},
    {"facts": {"disk": 1}},
    {"diagnosis": []},
    {"exit_code": None},
    {"attempt": "x"},
    {"phase": 3},
    {"started": 1e300},
]
BAD = [
    *(b"{", b"null", b"[]", b"{}", b"\xff\xfe", b"[" * 100_000),
    *(json.dumps({**CONTENT, **change}).encode() for change in WRONG),
]


@pytest.mark.parametrize("line", BAD, ids=lambda line: line[-30:].decode(errors="replace"))
def test_a_line_of_nonsense_is_set_aside_and_the_others_stay(directory: StateDirectory, line: bytes) -> None:
    append(directory, FAILURE)
    whole = directory.failures_file.read_bytes()
    directory.failures_file.write_bytes(line + b"\n" + whole)
    assert peek_failures(directory) == [FAILURE]
    assert not list(directory.root.glob("*.corrupt-*")), "who only looks changes nothing"
    assert read_failures(directory) == [FAILURE]
    [aside] = directory.root.glob("failures.jsonl.corrupt-*")
    assert aside.read_bytes() == line + b"\n" + whole
    assert directory.failures_file.read_bytes() == whole
    assert "1 line(s)" in directory.notices[0]


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_survived(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    directory = StateDirectory(tmp_path_factory.mktemp("state"))
    directory.failures_file.write_bytes(data)
    read_failures(directory)
    append(directory, FAILURE)
    assert read_failures(directory)[-1] == FAILURE


class FullDisk:
    """Writes fail for want of room while the reserve is there, as they would if it filled the disk."""

    def __init__(self, directory: StateDirectory, monkeypatch: pytest.MonkeyPatch, *, for_ever: bool = False) -> None:
        fsync = os.fsync

        def full(fd: int) -> None:
            if for_ever or directory.reserve.exists():
                raise OSError(errno.ENOSPC, "No space left on device")
            fsync(fd)

        directory.make_reserve()
        monkeypatch.setattr(os, "fsync", full)


def test_a_full_disk_gets_the_reserve(directory: StateDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    FullDisk(directory, monkeypatch)
    assert directory.reserve.stat().st_size == state.RESERVE_BYTES
    assert append(directory, FAILURE)
    assert not directory.reserve.exists()
    assert read_failures(directory) == [FAILURE]


def test_a_disk_without_any_room_is_passed_over(directory: StateDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    append(directory, FAILURE)
    FullDisk(directory, monkeypatch, for_ever=True)
    assert not failures.append(directory, FAILURE)
    assert read_failures(directory) == [FAILURE], "what was there is whole"

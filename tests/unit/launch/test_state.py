"""The state directory: one launch at a time, and files that survive nonsense and a full disk."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rigappliance.errors import BusyError, ExitCode, PreflightError
from rigappliance.launch.state import PhaseRecord, StartState, StateDirectory

STATE = StartState(
    run_id="f00d",
    supervisor_pid=4242,
    supervisor_start_ticks=123456,
    started=1700000000.5,
    url="http://127.0.0.1:8000",
    model="tiny",
    engine_version="0.32.0",
    phase="weights",
    detail="3/20 shards",
    phases=[PhaseRecord("process start", 1700000000.5, 1700000002.0), PhaseRecord("weights", 1700000002.0)],
    engine_pid=4243,
    eta_s=120.0,
    eta_basis="1 earlier start here",
    kv_tokens=16_240,
    boot_id="b",
    started_s=12.5,
    counters={"kills": 1},
    facts={"engine": "abc"},
)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    directory = StateDirectory(tmp_path)
    assert (directory.read(), directory.peek()) == (None, None)
    directory.write(STATE)
    assert directory.read() == STATE
    assert directory.peek() == STATE
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]
    assert directory.notices == []


CONTENT = asdict(STATE)
NONSENSE = [
    b"",
    b"{",
    b"\xff\xfe",
    b"null",
    b"[]",
    b"{}",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    json.dumps({**CONTENT, "extra": 1}).encode(),
    json.dumps({name: value for name, value in CONTENT.items() if name != "run_id"}).encode(),
    json.dumps({name: value for name, value in CONTENT.items() if name != "phases"}).encode(),
    json.dumps({**CONTENT, "phases": None}).encode(),
    json.dumps({**CONTENT, "phases": [{}]}).encode(),
    json.dumps({**CONTENT, "phases": ["weights"]}).encode(),
    json.dumps({**CONTENT, "started": "today"}).encode(),
    json.dumps({**CONTENT, "supervisor_pid": None}).encode(),
    json.dumps({**CONTENT, "supervisor_start_ticks": []}).encode(),
]


@pytest.mark.parametrize("data", NONSENSE, ids=lambda data: data[:30].decode(errors="replace"))
def test_a_state_that_makes_no_sense_is_set_aside_as_it_was(tmp_path: Path, data: bytes) -> None:
    directory = StateDirectory(tmp_path)
    directory.state_file.write_bytes(data)
    assert directory.peek() is None
    assert directory.state_file.exists(), "who only looks changes nothing"
    assert directory.read() is None
    assert not directory.state_file.exists()
    [aside] = tmp_path.glob("state.json.corrupt-*")
    assert aside.read_bytes() == data
    [notice] = directory.notices
    assert aside.name in notice
    directory.write(STATE)
    assert directory.read() == STATE


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_set_aside(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    root = tmp_path_factory.mktemp("state")
    directory = StateDirectory(root)
    directory.state_file.write_bytes(data)
    assert directory.read() is None
    assert [path.read_bytes() for path in root.iterdir()] == [data]


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(CONTENT)), JSON)
def test_any_json_in_any_field_is_read_or_set_aside(
    tmp_path_factory: pytest.TempPathFactory, name: str, value: object
) -> None:
    root = tmp_path_factory.mktemp("state")
    directory = StateDirectory(root)
    directory.state_file.write_text(json.dumps({**CONTENT, name: value}))
    state = directory.read()
    assert (state is None) == bool(list(root.glob("*.corrupt-*")))
    assert (state is None) == bool(directory.notices)


def test_a_full_disk_keeps_the_state_that_was_there(tmp_path: Path) -> None:
    directory = StateDirectory(tmp_path)
    directory.write(STATE)
    (tmp_path / "state.part").symlink_to("/dev/full")
    directory.write(StartState(**{**CONTENT, "phases": [], "phase": "ready"}))
    assert directory.read() == STATE


def test_a_directory_that_is_gone_does_not_stop_a_running_engine(tmp_path: Path) -> None:
    directory = StateDirectory(tmp_path / "gone")
    directory.write(STATE)
    assert directory.read() is None
    assert directory.notices == []


# --- the lock --------------------------------------------------------------

HOLDER = """
import sys, time
from pathlib import Path
from rigappliance.launch.state import StateDirectory
directory = StateDirectory(Path(sys.argv[1]))
directory.acquire()
print("held", flush=True)
time.sleep(60)
"""


def hold(root: Path) -> subprocess.Popen[bytes]:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(root)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    return holder


def test_the_second_launch_is_told_who_holds_the_directory(tmp_path: Path) -> None:
    root = tmp_path / "state" / "deep"
    holder = hold(root)
    try:
        directory = StateDirectory(root)
        with pytest.raises(BusyError) as caught:
            directory.acquire()
        assert f"(pid {holder.pid})" in caught.value.found
        assert caught.value.exit_code is ExitCode.BUSY
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert holder.stdout is not None
        holder.stdout.close()
    # The kernel takes the lock back from a holder that was killed.
    directory.acquire()
    assert (root / "lock").read_text() == f"{os.getpid()}\n"
    directory.release()
    directory.release()


def test_released_is_free_and_refusal_leaves_the_holders_pid(tmp_path: Path) -> None:
    first, second = StateDirectory(tmp_path), StateDirectory(tmp_path)
    first.acquire()
    for _ in range(2):
        with pytest.raises(BusyError, match=f"pid {os.getpid()}"):
            second.acquire()
    first.release()
    second.acquire()
    second.release()


def test_a_lock_is_not_inherited_by_the_engine(tmp_path: Path) -> None:
    first, second = StateDirectory(tmp_path), StateDirectory(tmp_path)
    first.acquire()
    child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        first.release()
        second.acquire()
        second.release()
    finally:
        child.kill()
        child.wait()


def test_a_full_disk_does_not_keep_the_lock_from_being_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    first, second = StateDirectory(tmp_path), StateDirectory(tmp_path)
    first.acquire()
    with pytest.raises(BusyError):
        second.acquire()
    first.release()


def test_a_directory_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PreflightError, match="cannot use state directory"):
        StateDirectory(tmp_path / "file" / "below").acquire()

"""The guard with real processes: however the engine ends, nothing of it is left."""

from __future__ import annotations

import errno
import json
import mmap
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from rigappliance.launch import engineprocess
from rigappliance.launch.engineprocess import EngineProcess, EventReader
from tests.unit.launch.processes import wait_until, with_argument

FAMILY = Path(__file__).with_name("family.py")
SHARED_MEMORY = Path("/dev/shm")
SUPERVISOR = """
import os, sys, time
from pathlib import Path
from rigappliance.launch import engineprocess
engine = engineprocess.start(sys.argv[2:], dict(os.environ), "test", Path(sys.argv[1]))
print(engine.popen.pid, engine.run_directory, flush=True)
time.sleep(600)
"""


class Names:
    """What only this test uses: seconds for `sleep`, and shared memory."""

    def __init__(self) -> None:
        self.seconds = f"3600.{random.SystemRandom().randrange(10**11, 10**12)}"
        self.shared = f"psm_rigtest_{self.seconds[5:]}"

    @property
    def segment(self) -> Path:
        return SHARED_MEMORY / self.shared

    def argv(self, ending: str) -> list[str]:
        return [sys.executable, str(FAMILY), self.seconds, self.shared, ending]


@pytest.fixture
def names() -> Iterator[Names]:
    names = Names()
    yield names
    for process in with_argument(names.seconds):
        process.kill()
    for path in SHARED_MEMORY.glob(f"*{names.seconds[5:]}*"):
        path.unlink()


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The engine's temporary directory; `start` finds it by this variable."""
    monkeypatch.setenv("TEST_TEMPORARY", str(tmp_path / "tmp"))
    return tmp_path / "tmp"


def start(argv: list[str]) -> EngineProcess:
    return engineprocess.start(argv, dict(os.environ), "test", Path(os.environ["TEST_TEMPORARY"]))


def read_log_until(engine: EngineProcess, text: bytes) -> None:
    seen = b""
    while text not in seen:
        ready, _, _ = select.select([engine.log_fd], [], [], 10)
        assert ready, f"no {text!r} in {seen!r}"
        data = os.read(engine.log_fd, 4096)
        assert data, f"the log ended without {text!r}: {seen!r}"
        seen += data


def finish(engine: EngineProcess, timeout_s: float = 15.0) -> list[dict[str, object]]:
    """The guard's events up to its end."""
    reader = EventReader()
    events: list[dict[str, object]] = []
    deadline_s = time.monotonic() + timeout_s
    while True:
        ready, _, _ = select.select([engine.status_fd], [], [], max(deadline_s - time.monotonic(), 0))
        assert ready, f"the guard did not end; events: {events}"
        data = os.read(engine.status_fd, 4096)
        if not data:
            break
        events += reader.feed(data)
    assert engine.popen.wait(5) == 0
    for fd in (engine.log_fd, engine.status_fd, engine.control_fd):
        os.close(fd)
    return events


def assert_nothing_left(names: Names, run_directory: Path) -> None:
    assert [process.cmdline() for process in with_argument(names.seconds)] == []
    assert not names.segment.exists()
    assert not run_directory.exists()


@pytest.mark.parametrize(
    ("ending", "status"), [("exit-0", 0), ("exit-7", 7), ("signal-9", -9), ("signal-11", -11), ("signal-15", -15)]
)
def test_an_engine_that_leaves_by_itself(names: Names, ending: str, status: int) -> None:
    engine = start(names.argv(ending))
    events = finish(engine)
    assert [list(event) for event in events] == [["started"], ["exited"], ["swept"]]
    assert events[1] == {"exited": status}
    swept = events[2]["swept"]
    assert isinstance(swept, dict)
    # The child, the one that ignores SIGTERM with the sleep that it waits for, and the daemon.
    assert sorted(swept["killed"]) == ["bash", "sleep", "sleep", "sleep"]
    assert swept["removed"] == [names.shared]
    assert_nothing_left(names, engine.run_directory)


def test_no_core_is_dumped_that_would_fill_the_disk() -> None:
    engine = start([sys.executable, "-c", "import resource; print(resource.getrlimit(resource.RLIMIT_CORE))"])
    read_log_until(engine, b"(0, 0)")
    finish(engine)


def test_the_end_of_an_orphan_is_told_while_the_engine_lives() -> None:
    """A part whose parent was killed has nobody else who learns how it ended."""
    script = """
import os, time
if os.fork() == 0:
    if os.fork() == 0:
        while os.getppid() != int(os.environ["GUARD"]):
            time.sleep(0.01)
        os.kill(os.getpid(), 11)
    os._exit(0)
os.wait()
time.sleep(0.5)
"""
    engine = start(["/bin/sh", "-c", 'GUARD=$PPID exec "$0" -c "$1"', sys.executable, script])
    orphans = [event for event in finish(engine) if "orphan" in event]
    assert [event["status"] for event in orphans] == [-11]


def without_environment(names: Names) -> list[psutil.Process]:
    return [process for process in with_argument(names.seconds) if not process.environ()]


def test_the_family_is_as_bad_as_it_should_be(names: Names) -> None:
    """Otherwise the tests around this one would prove nothing."""
    engine = start(names.argv("stay"))
    read_log_until(engine, b"up")
    assert wait_until(lambda: len(with_argument(names.seconds)) == 6), (
        "guard, engine, child, bash with its sleep, daemon"
    )
    # Between its fork and the program that it becomes, it still has the environment of its parent.
    assert wait_until(lambda: len(without_environment(names)) == 1)
    daemons = without_environment(names)
    assert wait_until(lambda: daemons[0].ppid() == engine.popen.pid), "the guard adopts orphans"
    assert os.getsid(daemons[0].pid) not in (os.getsid(0), os.getsid(engine.popen.pid))
    assert names.segment.exists()
    assert engine.run_directory.is_dir()
    engine.kill()
    finish(engine)


def test_kill_ends_everything_at_once(names: Names) -> None:
    engine = start(names.argv("stay"))
    read_log_until(engine, b"up")
    begin_s = time.monotonic()
    engine.kill()
    events = finish(engine)
    assert time.monotonic() - begin_s < 5
    assert events[-2] == {"exited": -9}
    assert "swept" in events[-1]
    assert_nothing_left(names, engine.run_directory)


def test_terminate_reaches_the_engine_and_the_rest_is_swept(names: Names) -> None:
    engine = start(names.argv("stay"))
    read_log_until(engine, b"up")
    engine.terminate()
    events = finish(engine)
    assert events[1] == {"exited": -15}
    assert_nothing_left(names, engine.run_directory)


def test_terminate_is_a_request_that_an_engine_may_answer_in_its_own_time(names: Names) -> None:
    script = f"trap 'echo stopping; exit 3' TERM; echo up; while :; do sleep 0.05; done # {names.seconds}"
    engine = start(["bash", "-c", script])
    read_log_until(engine, b"up")
    engine.terminate()
    read_log_until(engine, b"stopping")
    assert {"exited": 3} in finish(engine)
    assert_nothing_left(names, engine.run_directory)


def test_an_engine_that_ignores_sigterm_stays_until_it_is_killed(names: Names) -> None:
    engine = start(["bash", "-c", f"trap '' TERM; echo up; while :; do sleep 0.05; done # {names.seconds}"])
    read_log_until(engine, b"up")
    engine.terminate()
    engine.terminate()
    time.sleep(0.3)
    assert with_argument(names.seconds)
    engine.kill()
    assert {"exited": -9} in finish(engine)
    assert_nothing_left(names, engine.run_directory)


@pytest.mark.parametrize("ending", ["stay", "exit-0"])
def test_nothing_outlives_a_supervisor_that_was_killed(names: Names, ending: str) -> None:
    supervisor = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, os.environ["TEST_TEMPORARY"], *names.argv(ending)], stdout=subprocess.PIPE
    )
    assert supervisor.stdout is not None
    guard_pid, run_directory = supervisor.stdout.readline().decode().split()
    if ending == "stay":
        assert wait_until(lambda: len(with_argument(names.seconds)) == 7), "supervisor, guard and family"
    supervisor.send_signal(signal.SIGKILL)
    supervisor.wait()
    supervisor.stdout.close()
    assert wait_until(lambda: not Path("/proc", guard_pid).exists())
    assert_nothing_left(names, Path(run_directory))


def test_a_process_that_keeps_forking_is_caught(names: Names) -> None:
    """Each generation lives 50 ms and leaves a child; only the guard's adoption keeps them in sight."""
    script = "import os, time\nwhile True:\n    time.sleep(0.05)\n    if os.fork():\n        os._exit(0)"
    engine = start([sys.executable, "-c", script, names.seconds])
    assert {"exited": 0} in finish(engine)
    assert_nothing_left(names, engine.run_directory)


def test_a_program_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    engine = start([str(tmp_path / "no-engine")])
    events = finish(engine)
    [error] = [event["error"] for event in events if "error" in event]
    assert error == f"cannot start {tmp_path}/no-engine: No such file or directory"
    assert {"exited": 127} in events
    assert not engine.run_directory.exists()


def test_a_program_that_must_not_be_run_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "engine").write_text("text")
    events = finish(start([str(tmp_path / "engine")]))
    assert [event["error"] for event in events if "error" in event] == [
        f"cannot start {tmp_path}/engine: Permission denied"
    ]


def test_segments_of_others_are_kept(names: Names) -> None:
    """Older ones, those that a live process holds open or maps, and names that no engine makes."""
    number = names.seconds[5:]
    before, held, mapped, foreign = (
        SHARED_MEMORY / name
        for name in (f"psm_before{number}", f"psm_held{number}", f"psm_mapped{number}", f"someone-{number}")
    )
    before.write_bytes(b"x")
    engine = start(names.argv("stay"))
    read_log_until(engine, b"up")
    for path in (held, mapped, foreign):
        path.write_bytes(b"x" * 4096)
    with held.open("rb"), mapped.open("r+b") as file:
        mapping = mmap.mmap(file.fileno(), 4096)
        file.close()
        engine.kill()
        events = finish(engine)
        mapping.close()
    swept = events[-1]["swept"]
    assert isinstance(swept, dict)
    assert swept["removed"] == [names.shared]
    assert [path.exists() for path in (before, held, mapped, foreign)] == [True] * 4


def test_the_engine_gets_its_directories_and_run_id(names: Names, temporary: Path) -> None:
    variables = "$TMPDIR|$VLLM_RPC_BASE_PATH|$RIGAPPLIANCE_RUN_ID"
    engine = start(["bash", "-c", f'echo "{variables}|$(ls /proc/self/fd | wc -l)|up"'])
    seen = b""
    while b"up" not in seen:
        seen += os.read(engine.log_fd, 4096)
    scratch, sockets, run_id, descriptors, _ = seen.decode().split("|")
    assert (Path(scratch), Path(sockets), run_id) == (temporary, engine.run_directory, "test")
    # 0, 1, 2, the pipe of the substitution is 1, and the directory that ls reads; never the guard's pipes.
    assert int(descriptors) == 4
    finish(engine)


def test_the_temporary_directory_is_emptied_but_for_torchs_caches(names: Names, temporary: Path) -> None:
    temporary.mkdir()
    (temporary / "from-a-power-cut").touch()
    (temporary / "outside").symlink_to(temporary.parent)
    engine = start(
        ["bash", "-c", 'ls "$TMPDIR"; mkdir -p "$TMPDIR/torchinductor_me/x" "$TMPDIR/d/e"; touch "$TMPDIR/vllm_dist_1"']
    )
    assert os.read(engine.log_fd, 4096) == b""
    finish(engine)
    assert [path.name for path in temporary.iterdir()] == ["torchinductor_me"]
    assert (temporary / "torchinductor_me" / "x").is_dir()
    assert temporary.parent.is_dir()


def test_the_run_directory_is_short_enough_for_socket_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("x" * 60)
    long.mkdir()
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(long))
    directory = engineprocess.run_directory()
    directory.rmdir()
    assert directory.parent != long
    assert len(str(directory)) < 60


def test_events_are_read_in_any_pieces() -> None:
    events: list[dict[str, object]] = [{"started": 1}, {"exited": -9}, {"swept": {}}]
    data = b"".join(json.dumps(event).encode() + b"\n" for event in events)
    for cut in range(len(data)):
        reader = EventReader()
        assert [*reader.feed(data[:cut]), *reader.feed(data[cut:])] == events


def test_commands_to_a_guard_that_is_gone_are_passed_over(names: Names) -> None:
    engine = start(names.argv("exit-0"))
    engine.popen.wait(10)
    engine.terminate()
    engine.kill()
    with suppress(OSError):
        finish(engine)
    assert_nothing_left(names, engine.run_directory)


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, 4), (errno.EDQUOT, 4), (errno.ENOMEM, 10)])
def test_why_a_guard_cannot_be_started(number: int, code: int) -> None:
    """A full disk is mended, and does not mean that there is no engine."""
    assert engineprocess.cannot_start(OSError(number, os.strerror(number))).exit_code == code

"""A log from anywhere: where nothing failed that is said, and the memory it takes does not grow with it."""

from __future__ import annotations

import io
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rigappliance.diagnosis.barelog import BareLog, numbered_lines, plain_status, read
from tests.unit.diagnosis.cases import RECORDINGS, recording, start_until


def explain(text: str, exit_status: int | None = None) -> BareLog:
    return read(io.BytesIO(text.encode()), exit_status)


def cause(text: str, exit_status: int | None = None) -> str | None:
    diagnosis = explain(text, exit_status).diagnosis
    return diagnosis.cause.name if diagnosis else None


def lines_of(name: str) -> str:
    return "\n".join(recording(name))


@pytest.mark.parametrize("name", ["first-start.log", "cached-start.log"])
@pytest.mark.parametrize("exit_status", [None, 0])
def test_a_start_and_stop_without_a_failure_has_none(name: str, exit_status: int | None) -> None:
    result = explain(lines_of(name), exit_status)
    assert result.diagnosis is None or result.diagnosis.cause.name == "stopped"
    assert result.stopping


@pytest.mark.parametrize("name", ["cuda-first-start.log", "cuda-eager.log"])
def test_an_exception_while_it_stops_is_not_why_it_ended(name: str) -> None:
    assert cause(lines_of(name)) in (None, "stopped")


@pytest.mark.parametrize("when", ["config", "workers", "weights", "profiling", "serving"])
def test_a_start_that_goes_on_has_not_failed(when: str) -> None:
    assert cause("\n".join(start_until(when))) is None


CAUSES = {
    "port-taken.log": "port-taken",
    "truncated-shard.log": "checkpoint-truncated",
    "too-few-numa-nodes.log": "option-rejected",
    "worker-killed.log": "part-killed",
    "failures/api-server-own-error.log": "unknown",
    "failures/cuda-fp8-cache-float16.log": "option-rejected",
    "failures/cache-disk-full.log": "disk-full",
    "failures/checkpoint-unreadable.log": "checkpoint-missing",
    "failures/core-killed.log": "part-killed",
    "failures/header-length-absurd.log": "checkpoint-corrupt",
    "failures/heads-not-divisible.log": "option-rejected",
    "failures/model-directory-missing.log": "checkpoint-missing",
    "failures/quantisation-unknown.log": "checkpoint-unsupported",
    "failures/shard-is-lfs-pointer.log": "checkpoint-corrupt",
    "failures/shm-too-small.log": "shared-memory-full",
    "failures/tensor-renamed.log": "checkpoint-unsupported",
    "failures/worker-segfault.log": "part-crashed",
    "failures/worker-stopped-step-timeout.log": "engine-timed-out",
}


@pytest.mark.parametrize("name", CAUSES)
def test_recorded_failures_are_named_by_their_log_alone(name: str) -> None:
    result = read(io.BytesIO((RECORDINGS / name).read_bytes()))
    assert result.diagnosis is not None
    assert result.diagnosis.cause.name == CAUSES[name]


WITH_THE_KERNELS_LOG = {
    "illegal-instruction-api": "illegal-instruction",
    "illegal-instruction-core": "illegal-instruction",
    "memory-limit-first-import": "memory-limit-loading",
    "oom-killed-loading": "memory-limit-loading",
    "oom-killed-serving": "memory-limit-serving",
}


@pytest.mark.parametrize("name", WITH_THE_KERNELS_LOG)
def test_recorded_failures_are_named_with_the_kernels_log_behind_theirs(name: str) -> None:
    text = lines_of(f"failures/{name}.log") + "\n" + lines_of(f"failures/{name}.kernel")
    assert cause(text) == WITH_THE_KERNELS_LOG[name]


def test_a_journal_with_the_kernels_words_is_read_whole() -> None:
    kernel = (
        "Nov 23 13:12:34 rig kernel: oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,"
        "oom_memcg=/system.slice/x.service,task_memcg=/system.slice/x.service,task=VLLM::Worker_TP,pid=99,uid=0"
    )
    systemd = "Nov 23 13:12:35 rig systemd[1]: x.service: Main process exited, code=killed, status=9/KILL"
    text = "\n".join([*start_until("weights"), kernel, systemd])
    assert cause(text) == "memory-limit-loading"
    assert cause(f"{text}\nNov 23 13:12:35 rig kernel: Free swap  = 0kB\nTotal swap = 8388604kB") == "swap-exhausted"
    assert cause("\n".join([*start_until("serving"), systemd])) == "part-killed"
    oomd = "Nov 23 13:12:34 rig systemd[1]: x.service: systemd-oomd killed 3 process(es) in this unit."
    assert cause("\n".join([*start_until("weights"), oomd])) == "oomd"


def test_a_log_that_ends_in_waiting_is_possibly_of_a_hang() -> None:
    words = "No available shared memory broadcast block found in 60 seconds"
    waiting = f"(EngineCore pid=1) INFO 11-23 20:01:31 [shm_broadcast.py:871] {words}\n"
    serving = "\n".join(start_until("serving")) + "\n"
    assert cause(serving + waiting) is None
    assert cause(serving + waiting * 2) == "hung"
    assert cause(serving + waiting * 9 + "INFO:     and it went on\n") is None


def test_how_it_left_is_believed() -> None:
    healthy = "\n".join(start_until("serving"))
    assert cause(healthy, 0) == "silent-exit"
    assert cause(healthy, 139) == "part-crashed"
    assert cause(healthy, -4) == "illegal-instruction"
    assert cause("\n".join(start_until("weights")), 137) == "machine-out-of-memory"
    assert cause("", 1) == "unknown"
    assert cause("") is None


@pytest.mark.parametrize(
    ("status", "plain"), [(137, -9), (139, -11), (0, 0), (1, 1), (255, 255), (128, 128), (None, None), (-9, -9)]
)
def test_a_shells_status_of_a_signal(status: int | None, plain: int | None) -> None:
    assert plain_status(status) == plain


def test_lines_are_numbered_as_an_editor_does() -> None:
    text = "a\rb\n\nOSError: [Errno 98] Address already in use\r\n"
    diagnosis = explain(text).diagnosis
    assert diagnosis is not None
    assert diagnosis.evidence[0].line == 3
    assert [number for number, _, _ in numbered_lines(io.BytesIO(text.encode()))] == [1, 2, 3]


def test_a_cut_last_line_counts() -> None:
    assert cause("OSError: [Errno 98] Address already in use") == "port-taken"


def test_an_exception_counts_only_where_the_log_ends_with_it() -> None:
    unknown = "ValueError: something that nobody has seen before"
    assert cause(f"a\n{unknown}\n") == "unknown"
    assert cause(f"{unknown}\n" + "and it goes on\n" * 50) is None
    # While it serves, an exception is that of a request.
    assert cause("\n".join([*start_until("serving"), unknown])) is None


class Endless:
    """A log of ``total`` bytes without a newline, or with one a line."""

    def __init__(self, total: int, line: bytes) -> None:
        self.left = total
        self.line = line

    def read(self, size: int = -1) -> bytes:
        size = min(size, self.left)
        self.left -= size
        return (self.line * (size // len(self.line) + 1))[:size]


@pytest.mark.parametrize(
    ("line", "total"),
    [(b"x", 30 << 20), (b"\x00\xff\xfe", 30 << 20), (b"INFO 11-23 13:14:19 [x.py:1] a line\n", 4 << 20)],
    ids=["long", "binary", "many"],
)
def test_memory_does_not_grow_with_the_log(line: bytes, total: int) -> None:
    tracemalloc.start()
    try:
        read(Endless(total, line))  # type: ignore[arg-type]
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 3 << 20


@given(st.binary(), st.one_of(st.none(), st.integers(-64, 255)))
def test_any_bytes_are_taken(data: bytes, exit_status: int | None) -> None:
    assert read(io.BytesIO(data), exit_status).size_bytes == len(data)


def test_recordings_are_bytes_and_taken_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"\xff\xfe" + (RECORDINGS / "truncated-shard.log").read_bytes())
    with path.open("rb") as stream:
        diagnosis = read(stream).diagnosis
    assert diagnosis is not None
    assert diagnosis.cause.name == "checkpoint-truncated"

"""The reader takes lines of any kind, keeps little, and is not misled by words."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rigappliance.diagnosis.logevidence import LogEvidence
from rigappliance.diagnosis.logreader import HITS, HITS_EACH, KEPT_CHARS, LAST_LINES, LogReader
from rigappliance.diagnosis.signature import Role
from rigappliance.diagnosis.signatures import SIGNATURES
from tests.unit.diagnosis.cases import recording, start_until

HEALTHY = [
    "first-start.log",
    "cached-start.log",
    "failures/stopped-loading.log",
    "failures/stopped-serving-sigint.log",
    "failures/compile-cache-corrupt.log",
    "failures/tp2-nobind.log",
    "cuda-first-start.log",
    "cuda-eager.log",
]


def read(lines: list[str]) -> LogEvidence:
    reader = LogReader()
    for line in lines:
        reader.feed(line)
    return reader.evidence()


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_start_and_stop_has_no_cause(name: str) -> None:
    evidence = read(recording(name))
    assert [hit for hit in evidence.hits if hit.role is not Role.NOTE] == []
    assert evidence.stopping


NEAR_MISSES = [
    "[W1123 13:12:33.768742327 socket.cpp:767] [c10d] The client socket has failed to connect to [rig]:29500 (errno: 97"
    " - Address family not supported by protocol).",
    "[rank0]:[W1123 13:12:33.768742327 ProcessGroupNCCL.cpp:1538] Warning: NCCL error: unhandled system error",
    "rig:4711:4711 [0] NCCL INFO socketStartConnect: Connect to 10.0.0.2<1> : Connection refused, retrying",
    "2026-11-23 13:12:33,123 - vllm.worker - WARNING - CUDA out of memory was seen in another program",
    "WARNING:root:CUDA out of memory was seen in another program",
    "vllm-1  | INFO:     CUDA out of memory is what somebody asked about",
    '(APIServer pid=1) INFO 11-23 13:15:05 [logger.py:39] Received request cmpl-1: prompt: "torch.OutOfMemoryError: '
    'CUDA out of memory", params: SamplingParams(n=1)',
    "(APIServer pid=1) WARNING 11-23 13:14:19 [system_utils.py:255] Found ulimit of 20000 and failed to automatically "
    "increase with error x. This can cause fd limit errors like `OSError: [Errno 24] Too many open files`.",
    "(Worker pid=1) INFO 11-23 13:14:38 [gpu_worker.py:300] Free memory on device cuda:0 (11.2/11.76 GiB) on startup",
    "(Worker pid=1) WARNING 11-23 13:14:38 [gpu_worker.py:141] If you see CUDA out of memory, lower the utilisation",
    "W1123 13:14:26.514000 7764 torch/_library/triton.py:53] Triton not available, find_triton_kernels = []",
    "Triton is installed, but doesn't include CPU backend. Disabling Triton.",
    'INFO:     127.0.0.1:39378 - "POST /v1/completions HTTP/1.1" 400 Bad Request',
    'INFO:     127.0.0.1:39378 - "GET /killed HTTP/1.1" 404 Not Found',
    "vfs_fuse.c:281  UCX  ERROR inotify_add_watch(/tmp) failed: No space left on device",
    "(APIServer pid=1) ERROR 02-02 14:28:39 [repo_utils.py:47] Error retrieving safetensors: Repo id must be in the "
    "form 'repo_name' or 'namespace/repo_name': '/srv/x'., retrying 1 of 2",
    "(EngineCore pid=1) ERROR 11-23 20:01:12 [dump_input.py:72] Dumping input data for V1 LLM engine with config: "
    "model='/srv/x', prompt='RuntimeError: CUDA error: out of memory'",
    "UserWarning: resource_tracker: There appear to be 1 leaked semaphore objects to clean up at shutdown",
    "ras/client_support.cc:160 NCCL WARN Call to bind failed: Address already in use",
    "This model will be killed by curiosity. Killed time: 3 s",
    "Segmentation of the image finished; bus errors none; no illegal instructions",
]


@pytest.mark.parametrize("line", NEAR_MISSES)
def test_words_of_a_cause_in_a_harmless_line_are_no_cause(line: str) -> None:
    assert read([*start_until("profiling"), line]).hits == ()


def test_the_source_that_a_traceback_shows_is_only_a_hint() -> None:
    frame = '  File "/opt/engine/vllm/v1/core/kv_cache_utils.py", line 708, in check_enough_kv_cache_memory'
    shown = '    raise ValueError("No available memory for the cache blocks. "'
    (hit,) = read([frame, shown]).hits
    assert hit.role is Role.HINT


def test_lines_are_numbered_as_fed_or_as_told() -> None:
    reader = LogReader()
    reader.feed("nothing")
    reader.feed("OSError: [Errno 98] Address already in use")
    reader.feed("MemoryError", number=70)
    evidence = reader.evidence()
    assert [hit.number for hit in evidence.hits] == [2, 70]
    assert evidence.lines == 70


def test_last_lines_are_without_bars_blanks_and_colours() -> None:
    lines = ["a\x1b[31mb", "", "   ", "shards:  33% Completed | 1/3 [00:00<00:00, 382.17it/s]", "c\r\rd"]
    assert read(lines).last_lines == ("ab", "c", "d")


def test_little_is_kept_of_much() -> None:
    lines = [f"ValueError: {number} {'x' * 30_000}" for number in range(100)]
    lines += [signature.text for signature in SIGNATURES for _ in range(9)]
    evidence = read(lines)
    assert len(evidence.hits) <= HITS
    assert max([hit.signature for hit in evidence.hits].count(name) for name in {"error"}) == HITS_EACH
    assert len(evidence.last_lines) == LAST_LINES
    assert all(len(hit.text) <= KEPT_CHARS for hit in evidence.hits)
    assert all(len(line) <= KEPT_CHARS for line in read(lines[:100]).last_lines)


def test_a_flood_of_one_message_leaves_room_for_the_next() -> None:
    lines = ["RuntimeError: NCCL error: unhandled system error"] * 10_000 + [
        "OSError: [Errno 28] No space left on device"
    ]
    assert read(lines).hits[-1].cause == "disk-full"


@given(st.lists(st.text()))
def test_any_text_is_taken(lines: list[str]) -> None:
    read(lines)


TOKENS = st.sampled_from(
    [signature.text for signature in SIGNATURES]
    + [
        "\x1b[31m",
        "\r",
        '{"log":"',
        "ERROR 11-23 13:14:19 [x.py:1] ",
        '  File "x", line 3, in load_model',
        "A.",
        "\x00",
        '"}',
    ]
)


@given(st.lists(st.lists(TOKENS, max_size=6).map("".join), max_size=30))
def test_any_mixture_of_what_it_looks_for_is_taken(lines: list[str]) -> None:
    evidence = read(lines)
    assert len(evidence.hits) <= HITS


@pytest.mark.parametrize(
    "line",
    [
        "x" * 16_000,
        "A." * 8_000 + "Error",
        "A_" * 8_000 + "Error",
        "\x1b[" * 8_000,
        "Error not " * 1_600,
        '{"log":"' * 2_000,
    ],
    ids=["x", "dots", "underlines", "escapes", "words", "JSON"],
)
def test_a_long_line_costs_no_more_than_many_short_ones(line: str) -> None:
    reader = LogReader()
    reader.feed(line)
    started_s = time.process_time()
    for _ in range(20):
        reader.feed(line)
    # 1 to 2 ms each; whatever grows with the square of the length takes seconds.
    assert time.process_time() - started_s < 1.0

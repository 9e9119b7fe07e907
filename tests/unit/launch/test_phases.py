"""Phases and bars read from the engine's log: recorded starts, a start on cards from source, and junk."""

from __future__ import annotations

import random
import re
import time
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rigappliance.launch.phases import MARKERS, Phase, PhaseTracker
from tests.unit.launch.recordings import DIRECTORY, NAMES, recorded, split


@dataclass
class Seen:
    """What a tracker showed while it was fed."""

    tracker: PhaseTracker
    phases: list[Phase] = field(default_factory=list)
    bars: list[tuple[Phase, int, int]] = field(default_factory=list)


def replay(lines: list[str]) -> Seen:
    seen = Seen(PhaseTracker())
    for line in lines:
        before = seen.tracker.phase
        changed = seen.tracker.feed(line)
        if seen.tracker.phase is not before:
            assert changed, f"{line!r} began a phase and nobody would have drawn it"
            seen.phases.append(seen.tracker.phase)
        bar = seen.tracker.bar
        if bar is not None and (not seen.bars or seen.bars[-1] != (seen.tracker.phase, bar.done, bar.total)):
            seen.bars.append((seen.tracker.phase, bar.done, bar.total))
    return seen


STARTED = [
    Phase.CONFIG, Phase.WORKERS, Phase.WEIGHTS, Phase.COMPILE, Phase.PROFILE, Phase.KV_CACHE, Phase.HTTP,
]  # fmt: skip
SHARDS = [(Phase.WEIGHTS, 0, 3), (Phase.WEIGHTS, 3, 3)]
# A card's: graphs are captured to learn their size before the KV cache is sized, and once more after it.
ON_A_CARD = [*STARTED[:-1], Phase.GRAPHS, Phase.HTTP]
CAPTURED = [(Phase.GRAPHS, *bar) for bar in ((0, 11), (4, 11), (9, 11), (11, 11), (0, 7), (6, 7), (7, 7))]


# Twice, and so quickly that each bar is seen empty and full.
SECOND = [(Phase.GRAPHS, *bar) for bar in ((0, 7), (7, 7), (0, 7), (7, 7))]


@pytest.mark.parametrize(
    ("name", "phases", "bars", "kv_tokens", "listening"),
    [
        ("first-start", STARTED, SHARDS, 524_288, True),
        ("cached-start", STARTED, SHARDS, 524_288, True),
        ("truncated-shard", STARTED[:3], [(Phase.WEIGHTS, 0, 3), (Phase.WEIGHTS, 1, 3)], None, False),
        ("port-taken", STARTED[:1], [], None, False),
        ("too-few-numa-nodes", STARTED[:2], [], None, False),
        ("worker-killed", STARTED, SHARDS, 524_288, True),
        ("cuda-first-start", ON_A_CARD, CAPTURED, 1_741_920, True),
        ("cuda-second-start", ON_A_CARD, SECOND, 3_724_224, True),
        # Nothing is compiled, profiled by name or captured.
        ("cuda-eager", [*STARTED[:3], Phase.KV_CACHE, Phase.HTTP], [], 1_420_192, True),
    ],
)
def test_recorded_start(
    name: str,
    phases: list[Phase],
    bars: list[tuple[Phase, int, int]],
    kv_tokens: int | None,
    listening: bool,
) -> None:
    seen = replay(split(recorded(name)))
    tracker = seen.tracker
    assert seen.phases == phases
    assert seen.bars == bars
    assert (tracker.kv_tokens, tracker.listening) == (kv_tokens, listening)
    # A checkpoint without bytes, as the starts on a card had, has no such line.
    assert tracker.weights_loaded is (Phase.COMPILE in phases and not name.startswith("cuda"))


def test_every_recording_is_replayed_and_names_no_path_of_the_recording_machine() -> None:
    assert sorted(path.stem for path in DIRECTORY.glob("*.log")) == sorted(NAMES)
    for name in NAMES:
        places = set(re.findall(rb"(?<![\w.-])/\w+/[a-z]+", recorded(name)))
        routes = {place for place in places if re.match(rb"/(v1|docs|inference)/", place)}
        assert places - routes <= {b"/opt/engine", b"/usr/lib", b"/var/lib", b"/srv/checkpoint", b"/tmp/vllm"}, name
        assert b"\r" in recorded(name), name


# From the source of vLLM 0.32.0, not recorded: the lines of a start on CUDA cards
# with 8 ranks, and the phase that each is in.
CUDA = [
    ("INFO 11-23 10:00:00 [api_utils.py:286] non-default args: {'tensor_parallel_size': 8}", Phase.CONFIG),
    ("INFO 11-23 10:00:20 [core.py:133] Initializing a V1 LLM engine (v0.32.0) with config: ...", Phase.WORKERS),
    ("INFO 11-23 10:00:50 [parallel_state.py:1906] world_size=8 rank={rank} local_rank={rank}", Phase.WORKERS),
    ("INFO 11-23 10:01:00 [gpu_model_runner.py:4000] Starting to load model /srv/72b...", Phase.WEIGHTS),
    ("INFO 11-23 10:01:00 [gptq_marlin.py:380] Using MarlinLinearKernel for AutoGPTQLinearMethod", Phase.WEIGHTS),
    ("INFO 11-23 10:01:01 [base_loader.py:82] Initializing model took 0.5 seconds", Phase.WEIGHTS),
    ("INFO 11-23 10:01:01 [weight_utils.py:1108] Filesystem type for checkpoints: EXT4.", Phase.WEIGHTS),
    ("Loading safetensors checkpoint shards:   0% Completed | 0/20 [00:00<?, ?it/s]", Phase.WEIGHTS),
    ("Loading safetensors checkpoint shards:  50% Completed | 10/20 [14:00<14:00, 84.00s/it]", Phase.WEIGHTS),
    ("Loading safetensors checkpoint shards: 100% Completed | 20/20 [28:00<00:00, 84.00s/it]", Phase.WEIGHTS),
    ("INFO 11-23 10:29:00 [default_loader.py:501] Loading weights took 1680.00 seconds", Phase.WEIGHTS),
    ("INFO 11-23 10:29:01 [gpu_model_runner.py:4100] Model loading took 8.97 GiB and 1681.0 seconds", Phase.WEIGHTS),
    ("INFO 11-23 10:29:02 [monitor.py:20] Starting torch.compile", Phase.COMPILE),
    ("INFO 11-23 10:30:00 [backends.py:700] Dynamo bytecode transform time: 58.0 s", Phase.COMPILE),
    ("INFO 11-23 10:37:00 [monitor.py:60] torch.compile took 478.00 s in total", Phase.COMPILE),
    ("INFO 11-23 10:38:00 [monitor.py:91] Initial profiling/warmup run took 60.0 s", Phase.PROFILE),
    ("INFO 11-23 10:38:01 [gpu_model_runner.py:6000] Profiling CUDA graph memory: PIECEWISE=11", Phase.PROFILE),
    ("INFO 11-23 10:40:00 [gpu_model_runner.py:6100] Estimated CUDA graph memory: 0.50 GiB total", Phase.PROFILE),
    ("INFO 11-23 10:40:01 [gpu_worker.py:480] Available KV cache memory: 0.62 GiB", Phase.KV_CACHE),
    ("INFO 11-23 10:40:02 [kv_cache_utils.py:2327] GPU KV cache size: 16,240 tokens", Phase.KV_CACHE),
    ("INFO 11-23 10:40:03 [kernel_warmup.py:90] JIT kernel warmup starting", Phase.GRAPHS),
    ("INFO 11-23 10:41:03 [kernel_warmup.py:99] JIT kernel warmup finished", Phase.GRAPHS),
    ("Capturing CUDA graphs (PIECEWISE):   0%|          | 0/11 [00:00<?, ?it/s]", Phase.GRAPHS),
    ("Capturing CUDA graphs (PIECEWISE): 100%|##########| 11/11 [00:22<00:00,  2.00s/it]", Phase.GRAPHS),
    ("Capturing CUDA graphs (FULL):   0%|          | 0/7 [00:00<?, ?it/s]", Phase.GRAPHS),
    ("Capturing CUDA graphs (FULL): 100%|##########| 7/7 [00:14<00:00,  2.00s/it]", Phase.GRAPHS),
    ("INFO 11-23 10:45:00 [gpu_model_runner.py:6200] Graph capturing finished in 37 secs", Phase.GRAPHS),
    ("INFO 11-23 10:45:01 [core.py:402] init engine (profile, create kv cache, warmup model) took 961 s", Phase.HTTP),
    ("INFO 11-23 10:45:02 [entry.py:140] Starting vLLM server on http://127.0.0.1:8000", Phase.HTTP),
    ("INFO:     Application startup complete.", Phase.HTTP),
]


def test_start_on_cards_from_source() -> None:
    tracker = PhaseTracker()
    for line, phase in CUDA:
        tracker.feed(line.replace("{rank}", "0"))
        assert tracker.phase is phase, line
    seen = replay([line for line, _ in CUDA])
    assert seen.phases == ON_A_CARD
    assert seen.bars == [
        (Phase.WEIGHTS, 0, 20), (Phase.WEIGHTS, 10, 20), (Phase.WEIGHTS, 20, 20),
        (Phase.GRAPHS, 0, 11), (Phase.GRAPHS, 11, 11), (Phase.GRAPHS, 0, 7), (Phase.GRAPHS, 7, 7),
    ]  # fmt: skip
    assert (seen.tracker.kv_tokens, seen.tracker.listening) == (16_240, True)
    seen.tracker.ready()
    assert seen.tracker.phase.label == "ready"


def test_the_kv_cache_on_cards_is_shown_by_whichever_of_its_lines_comes_first() -> None:
    for line in ("Available KV cache memory: 0.62 GiB", "GPU KV cache size: 16,240 tokens"):
        assert replay([line]).phases == [Phase.KV_CACHE]


@pytest.mark.parametrize("marker", MARKERS, ids=lambda marker: marker.text)
def test_each_marker_alone_begins_its_phase(marker: object) -> None:
    """A start whose other lines are cut off or renamed still shows what is left of them."""
    [found] = [known for known in MARKERS if known is marker]
    before = ["GPU KV cache size: 16,240 tokens"] if found.sized else []
    phases = replay([*before, f"(Worker_TP3 pid=12) INFO 11-23 10:00:00 [file.py:1] {found.text}"]).phases
    assert phases[len(before) :] == [found.phase]


def test_a_rank_that_still_profiles_does_not_begin_the_capture_of_all() -> None:
    """Each rank says what it has for the cache; the core says the size when all have."""
    capturing = "(Worker_TP1 pid=13) Capturing CUDA graphs (PIECEWISE):  50%|#####     | 1/2 [00:01<00:01,  1.00s/it]"
    lines = ["(Worker_TP0 pid=12) Available KV cache memory: 0.62 GiB", capturing]
    assert replay(lines).phases == [Phase.KV_CACHE]
    assert replay([*lines, "GPU KV cache size: 16,240 tokens", capturing]).phases == [Phase.KV_CACHE, Phase.GRAPHS]


@pytest.mark.parametrize("seed", range(20))
def test_eight_ranks_with_late_lines_never_go_back(seed: int) -> None:
    """From source, not recorded: every rank prints the whole start, each at its own speed."""
    rng = random.Random(seed)
    ranks = [[line.replace("{rank}", str(rank)) for line, _ in CUDA[2:-3]] for rank in range(8)]
    lines = [line for line, _ in CUDA[:2]]
    while any(ranks):
        rank = rng.choice([i for i, left in enumerate(ranks) if left])
        lines.append(f"(Worker_TP{rank} pid={100 + rank}) {ranks[rank].pop(0)}")
    lines += [line for line, _ in CUDA[-3:]] + rng.sample(lines, 40)

    tracker = PhaseTracker()
    for line in lines:
        before, bar = tracker.phase, tracker.bar
        tracker.feed(line)
        assert tracker.phase >= before
        if tracker.phase is before and bar is not None:
            assert tracker.bar is not None, "a late line took a bar away"
    assert tracker.phase is Phase.HTTP


def test_ready_and_an_answering_port_are_kept() -> None:
    tracker = PhaseTracker()
    tracker.http_answers()
    assert (tracker.phase, tracker.listening) == (Phase.HTTP, True)
    tracker.ready()
    tracker.http_answers()
    for line, _ in CUDA:
        tracker.feed(line)
    assert tracker.phase is Phase.READY


@pytest.mark.parametrize("bar", ["5/3 [", "0/0 [", "1/9999999999 [", "3 / 3 [", "a/b ["])
def test_a_bar_that_cannot_be_is_not_shown(bar: str) -> None:
    prefix = "Loading safetensors checkpoint shards: 1% Completed | "
    seen = replay(["Starting to load model /srv/72b...", prefix + "1/3 [00:00<?, ?it/s]", prefix + bar])
    assert seen.bars == [(Phase.WEIGHTS, 1, 3)]


READ = "(Worker_TP0 pid=7) INFO 11-24 03:08:01 [reader.py:127] rigappliance loader: read {} bytes (40%), 160 MB/s"


def test_bytes_of_our_loader_are_the_bar_and_shards_no_longer() -> None:
    shard = "Loading safetensors checkpoint shards: 1% Completed | 1/3 [00:00<?, ?it/s]"
    seen = replay(
        [READ.format("4 of 10"), shard, READ.format("8 of 10"), READ.format("11 of 10"), READ.format("0 of 0")]
    )
    assert seen.bars == [(Phase.WEIGHTS, 4, 10), (Phase.WEIGHTS, 8, 10)]


# --- junk ------------------------------------------------------------------


class Invariant:
    """Feeds lines and fails on what must never be."""

    def __init__(self) -> None:
        self.tracker = PhaseTracker()
        self.highest = Phase.PROCESS

    def feed(self, line: str) -> None:
        self.tracker.feed(line)
        assert self.tracker.phase >= self.highest, f"went back from {self.highest} to {self.tracker.phase}: {line!r}"
        self.highest = self.tracker.phase
        bar = self.tracker.bar
        assert bar is None or 0 <= bar.done <= bar.total != 0, f"{bar}: {line!r}"
        assert self.tracker.kv_tokens is None or self.tracker.kv_tokens >= 0


JUNK = [
    "\u2028",
    "\u0660\u0661/\u0662 [",
    "\ud7ff",
    "\x00",
    "é́",
    "\U0001f9ff",
    "²",
    "\x1b[2K",
    "Error: ",
    ",,,,",
    "/0 [",
]


def mutate(line: bytes, rng: random.Random) -> bytes:
    out = bytearray(line)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(out) + 1)
        kind = rng.randrange(6)
        if kind == 0 and out:
            out[at % len(out)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            out[at:at] = rng.randbytes(rng.randint(1, 8))
        elif kind == 2:
            del out[at:]
        elif kind == 3:
            out *= 2
        elif kind == 4:
            out = bytearray(re.sub(rb"\d+", lambda match: match[0] * rng.randint(1, 30), bytes(out), count=3))
        else:
            out[at:at] = rng.choice(JUNK).encode()
    return bytes(out[:20_000])


def test_a_hundred_thousand_mutated_lines() -> None:
    rng = random.Random(32)
    texts = [line.encode() for name in NAMES for line in split(recorded(name))] + [line.encode() for line, _ in CUDA]
    # Lines that the tracker looks into are few beside routes and tracebacks; they get half of the mutations.
    telling = [line for line in set(texts) if re.search(rb"shards:|Capturing|KV cache|Error|Exception|took", line)]
    watch, fed = Invariant(), 0
    while fed < 100_000:
        if fed % 2_000 == 0:
            watch = Invariant()
            if fed % 4_000 == 0:
                # Bars are read in two phases only, which mutated markers soon leave behind.
                watch.feed(rng.choice(["Starting to load model x", "JIT kernel warmup starting"]))
        pool = telling if fed % 2 else texts
        watch.feed(mutate(rng.choice(pool), rng).decode(errors="replace"))
        fed += 1
    assert fed == 100_000


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.one_of(st.text(), st.sampled_from([line for line, _ in CUDA]), st.from_regex(r"shards: \d+/\d+ \[")))
)
def test_arbitrary_text(lines: list[str]) -> None:
    watch = Invariant()
    for line in lines:
        watch.feed(line)


@pytest.mark.parametrize(
    "unit", ["A", "a.", "A.", "Error: ", "AError", "9", "9/", "KV cache size: ", "] A", "shards: 1/1 ["]
)
def test_a_long_hostile_line_costs_milliseconds(unit: str) -> None:
    tracker = PhaseTracker()
    tracker.feed("Starting to load model x")
    line = (unit * (1 << 14))[: 1 << 14] + " Error"
    begin_s = time.process_time()
    tracker.feed(line)
    assert time.process_time() - begin_s < 0.5

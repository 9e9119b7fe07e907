"""What the profile run's peak is made of: every start's own allocations, and the stacks that asked for the largest.

    ENGINE/bin/python -m bench.gpu.peak --work DIR --out DIR [--only NAME...] [--seconds N]

Each start is an engine in one process, so that torch's record of allocations can be read around `memory_profiling`
(v1/worker/gpu_worker.py). OUT/peak.json is written anew after each of them. The card's memory by NVML and the host's
by process (smaps) are looked at after each stage.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.gpu.cases import INT8, SEVEN, layers
from bench.gpu.checkpoints import hollow, shape_with
from bench.gpu.hostmemory import process_memory
from bench.gpu.running import ENVIRONMENT

LARGE_BYTES = 4 << 20
FRAMES = 14


@dataclass(frozen=True)
class Start:
    """``cache`` names the caches: the first start that names them finds them empty."""

    name: str
    cache: str
    model: str = INT8
    tokens: int = 2048
    options: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)


UNMEASURED = {"inductor_compile_config": {"combo_kernels": True, "benchmark_combo_kernel": False}}
STARTS = (
    Start("first", "a"),
    Start("second", "a"),
    Start("first, combinations not measured", "b", options={"compilation_config": UNMEASURED}),
    Start("eager", "c", options={"enforce_eager": True}),
    Start("first, without AOT", "d", environment={"VLLM_USE_AOT_COMPILE": "0"}),
    Start("second, without AOT", "d", environment={"VLLM_USE_AOT_COMPILE": "0"}),
    Start("first, 8192 tokens", "e", tokens=8192),
    Start("7B, first", "f", model=SEVEN),
    Start("7B, second", "f", model=SEVEN),
)


@dataclass
class Block:
    size_bytes: int
    stack: list[str]


def live_at_peak(events: Iterable[dict[str, Any]]) -> tuple[int, list[Block]]:
    """The most that a trace's own allocations came to at once, and which were alive then."""
    alive: dict[int, Block] = {}
    now = most = 0
    at_peak: list[Block] = []
    for event in events:
        if event["action"] == "alloc":
            alive[event["addr"]] = Block(event["size"], stack(event.get("frames", ())))
            now += event["size"]
            if now > most:
                most, at_peak = now, list(alive.values())
        elif event["action"] == "free_requested" and (block := alive.pop(event["addr"], None)):
            now -= block.size_bytes
    return most, sorted(at_peak, key=lambda block: -block.size_bytes)


def stack(frames: Iterable[dict[str, Any]]) -> list[str]:
    """Innermost first, without what belongs to the recorder."""
    found = []
    for frame in frames:
        path = str(frame["filename"])
        short = path.split("site-packages/")[-1].split("dist-packages/")[-1]
        found.append(f"{short}:{frame['line']} {frame['name']}")
        if len(found) == FRAMES:
            break
    return found


def child(start: Start, checkpoint: Path, report: Path) -> None:
    """One engine; everything seen goes to the file ``report``."""
    torch: Any = import_module("torch")
    told: dict[str, Any] = {"start": start.name, "tokens": start.tokens, "model": start.model}
    stages: list[dict[str, Any]] = []

    def stage(name: str) -> None:
        card: dict[str, int] = {}
        if torch.cuda.is_initialized():
            free, total = torch.cuda.mem_get_info()
            stats = torch.cuda.memory_stats()
            card = {
                "free_bytes": free, "total_bytes": total, "allocated_bytes": stats["allocated_bytes.all.current"],
                "peak_bytes": stats["allocated_bytes.all.peak"], "reserved_bytes": torch.cuda.memory_reserved(),
                "reserved_peak_bytes": stats["reserved_bytes.all.peak"],
            }  # fmt: skip
        stages.append({"stage": name, "at_s": round(time.monotonic() - began, 2), "card": card, **process_memory()})

    began = time.monotonic()
    engine: Any = import_module("vllm").LLM
    gpu_worker: Any = import_module("vllm.v1.worker.gpu_worker")
    stage("imported")
    real: Any = gpu_worker.memory_profiling

    @contextmanager
    def recorded(*arguments: Any, **keywords: Any) -> Iterator[Any]:
        stage("weights loaded")
        with real(*arguments, **keywords) as result:
            torch.cuda.memory._record_memory_history(
                "all", context="alloc", stacks="python", max_entries=400_000, clear_history=True
            )
            yield result
            events = torch.cuda.memory._snapshot()["device_traces"][0]
            torch.cuda.memory._record_memory_history(None)
            stage("profiled, not yet emptied")
        stage("profiled")
        most, blocks = live_at_peak(events)
        told["events"] = len(events)
        told["peak_of_requests_bytes"] = most
        told["at_peak"] = [vars(block) for block in blocks if block.size_bytes >= LARGE_BYTES][:40]
        told["small_at_peak_bytes"] = sum(block.size_bytes for block in blocks if block.size_bytes < LARGE_BYTES)
        left = kept(events)
        told["kept"] = [vars(block) for block in left[:25]]
        told["kept_bytes"] = sum(block.size_bytes for block in left)
        told["consumed_bytes"] = result.total_consumed
        told["headroom_bytes"] = result.transient_peak_headroom
        report.write_text(json.dumps({**told, "stages": stages}))

    gpu_worker.memory_profiling = recorded
    engine(
        str(checkpoint), load_format="dummy", max_model_len=4096, max_num_seqs=32, gpu_memory_utilization=0.5,
        max_num_batched_tokens=start.tokens, **start.options,
    )  # fmt: skip
    stage("ready")
    report.write_text(json.dumps({**told, "stages": stages}))


def kept(events: Iterable[dict[str, Any]]) -> list[Block]:
    """Allocations that the profile run leaves behind."""
    alive: dict[int, Block] = {}
    for event in events:
        if event["action"] == "alloc":
            alive[event["addr"]] = Block(event["size"], stack(event.get("frames", ())))
        elif event["action"] == "free_requested":
            alive.pop(event["addr"], None)
    return sorted(alive.values(), key=lambda block: -block.size_bytes)


def run(start: Start, work: Path, limit_s: float) -> dict[str, Any]:
    checkpoint = work / f"peak-{start.model.split('/')[-1]}"
    if not checkpoint.exists():
        hollow(shape_with(start.model, **layers(2)), checkpoint)
    caches = work / f"peak-cache-{start.cache}"
    environment = {
        **os.environ, **ENVIRONMENT, **start.environment, "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_CACHE_ROOT": str(caches / "vllm"), "TRITON_CACHE_DIR": str(caches / "triton"),
        "TORCHINDUCTOR_CACHE_DIR": str(caches / "inductor"), "HF_HUB_OFFLINE": "1",
    }  # fmt: skip
    report = work / "peak-start.json"
    report.unlink(missing_ok=True)
    command = [
        sys.executable, "-m", "bench.gpu.peak", "--child", start.name, "--checkpoint", str(checkpoint),
        "--report", str(report),
    ]  # fmt: skip
    began = time.monotonic()
    try:
        done = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=limit_s, check=False
        )
        output, status = done.stdout.decode(errors="replace"), str(done.returncode)
    except subprocess.TimeoutExpired as late:
        output, status = (late.stdout or b"").decode(errors="replace"), "too late"
    told: dict[str, Any] = json.loads(report.read_text()) if report.exists() else {"start": start.name}
    log = output.splitlines()[-400:]
    told["measured_alone"] = with_copies(caches)
    return {**told, "status": status, "seconds": round(time.monotonic() - began, 1), "log": log}


def with_copies(caches: Path) -> dict[str, str]:
    """Kernels that were generated with a benchmark of their own whose arguments hold a copy of the embedding."""
    found = {}
    for path in sorted(caches.rglob("*.py")):
        text = path.read_text(errors="replace")
        if "def get_args" in text and "rand_strided((152064," in text.replace("torch.Size", ""):
            found[str(path.relative_to(caches))] = text[:12_000]
    return dict(list(found.items())[:4])


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--work", type=Path)
    arguments.add_argument("--out", type=Path)
    arguments.add_argument("--only", action="append", help="name of a start; default: all")
    arguments.add_argument("--seconds", type=float, default=400, help="start nothing new after so long")
    arguments.add_argument("--child", help=argparse.SUPPRESS)
    arguments.add_argument("--checkpoint", type=Path, help=argparse.SUPPRESS)
    arguments.add_argument("--report", type=Path, help=argparse.SUPPRESS)
    chosen = arguments.parse_args()
    if chosen.child:
        child(next(start for start in STARTS if start.name == chosen.child), chosen.checkpoint, chosen.report)
        return 0
    if chosen.work is None or chosen.out is None:
        arguments.error("--work and --out are needed")
    chosen.work.mkdir(parents=True, exist_ok=True)
    for cache in {start.cache for start in STARTS}:
        shutil.rmtree(chosen.work / f"peak-cache-{cache}", ignore_errors=True)
    deadline = time.monotonic() + chosen.seconds
    found: list[dict[str, Any]] = []
    for start in STARTS:
        if time.monotonic() > deadline or (chosen.only and start.name not in chosen.only):
            continue
        told = run(start, chosen.work, 150)
        found.append(told)
        (chosen.out / "peak.json").write_text(json.dumps(found, indent=1) + "\n")
        say(told)
    return 0


def say(told: dict[str, Any]) -> None:
    mib = 1 << 20
    print(
        f"== {told['start']}: status {told['status']}, {told['seconds']} s, consumed "
        f"{told.get('consumed_bytes', 0) / mib:.1f}, headroom {told.get('headroom_bytes', 0) / mib:.1f}, kept "
        f"{told.get('kept_bytes', 0) / mib:.1f}, peak of requests {told.get('peak_of_requests_bytes', 0) / mib:.1f} MiB"
    )
    for block in told.get("at_peak", ())[:8]:
        print(f"  {block['size_bytes'] / mib:9.2f} MiB  {' < '.join(block['stack'][:5])}")
    for name, text in told.get("measured_alone", {}).items():
        lines = [line.strip() for line in text.splitlines() if "rand_strided(" in line and "import" not in line]
        print(f"  benchmark in {name}: {lines}")
    for block in told.get("kept", ())[:4]:
        print(f"  kept {block['size_bytes'] / mib:9.2f} MiB  {' < '.join(block['stack'][:4])}")
    if not told.get("at_peak"):
        print("\n".join(told["log"][-25:]))
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

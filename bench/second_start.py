"""First start, second start, and the stock engine's second start, on the real CPU engine; where each second goes.

    python -m bench.second_start [--runs 5] [--tp 1 2]

A run is four starts of the same model with the same limits, each until the first completion: ours with empty caches,
ours again, the stock engine (`python -m vllm.entrypoints.openai.api_server`) with the empty default cache directories
of a new home, and the stock engine again.  Who begins changes from run to run.  Phases are told by the engine's log and
the same tracker for both, so that a column of the table compares like with like.
"""

from __future__ import annotations

import os
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bench.common import engine_home, finish, parser, spread
from bench.time_to_ready import first_completion
from rigappliance.endpoint import Endpoint
from rigappliance.launch.leftovers import remove_shared_memory, shared_memory_names
from rigappliance.launch.phases import Phase, PhaseTracker
from rigappliance.render.vllm import CACHES, MODULE
from tests.engine.launching import EngineHome, Launch

KV_CACHE_BYTES = 256 << 20
# Each rank's threads bound to a core of a NUMA node of its own need more nodes than small machines have.
NO_BINDING = {"VLLM_CPU_OMP_THREADS_BIND": "nobind"}
STARTS = ("ours first", "ours second", "stock first", "stock second")
SETTLE_S = 2.0


@dataclass(frozen=True)
class Start:
    """Seconds to the first completion, and by phase; ``recompiled`` counts ranks that could not load what they had."""

    total_s: float
    phases_s: dict[str, float]
    recompiled: int
    cache_bytes: int


class Clock:
    """Seconds by phase, from lines as they come."""

    def __init__(self) -> None:
        self.tracker = PhaseTracker()
        self.started_s = time.monotonic()
        self.entered: list[tuple[Phase, float]] = [(Phase.PROCESS, self.started_s)]
        self.recompiled = 0

    def feed(self, line: str) -> None:
        before = self.tracker.phase
        self.tracker.feed(line)
        if self.tracker.phase is not before:
            self.entered.append((self.tracker.phase, time.monotonic()))
        self.recompiled += "Compiling model again" in line

    def phases_s(self, end_s: float) -> dict[str, float]:
        ends = [at for _, at in self.entered[1:]] + [end_s]
        return {phase.label: end - at for (phase, at), end in zip(self.entered, ends, strict=True)}


def size_of(directory: Path) -> int:
    return sum(path.lstat().st_size for path in directory.rglob("*") if path.is_file() and not path.is_symlink())


def configured(home: EngineHome, tp: int) -> Path:
    """The launch's configuration, with the limits that the stock engine gets too."""
    config = home.config(probe_interval="60s")
    lines = [f"tensor_parallel = {tp}", f'kv_cache_memory = "{KV_CACHE_BYTES} B"']
    text = config.read_text().replace("[engine]\n", "\n".join(["[engine]", *lines]) + "\n")
    if tp > 1:
        text += "[engine.environment]\n" + "".join(f'{name} = "{value}"\n' for name, value in NO_BINDING.items())
    config.write_text(text)
    return config


def ours(home: EngineHome, tp: int) -> Start:
    one = Launch(home, configured(home, tp))
    try:
        first_completion(Endpoint("127.0.0.1", home.port))
        state = one.wait_ready()
        assert one.stop() == 0, one.errors()
        log = (home.root / "launch.out").read_text(errors="replace")
    finally:
        one.end()
    phases = {each["name"]: each["seconds"] for each in state["phases"] if each["name"] != Phase.READY.label}
    recompiled = log.count("Compiling model again")
    return Start(state["ready_after_s"], phases, recompiled, size_of(home.state_dir / "cache"))


def stock(home: EngineHome, tp: int) -> Start:
    """The server as its documentation starts it, in a home of its own and with nothing said about caches."""
    own = home.root / "stock"
    temporary = own / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    dropped = {*CACHES.values(), "HOME", "TMPDIR"}
    environment = {name: value for name, value in os.environ.items() if name not in dropped}
    environment |= {"HOME": str(own), "TMPDIR": str(temporary), "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    argv = [
        str(home.python), "-m", MODULE, "--model", str(home.checkpoint), "--served-model-name", "tiny-qwen2",
        "--host", "127.0.0.1", "--port", str(home.port), "--dtype", "bfloat16", "--max-model-len", "1024",
        "--max-num-seqs", "8", "--tensor-parallel-size", str(tp), "--kv-cache-memory-bytes", str(KV_CACHE_BYTES),
    ]  # fmt: skip
    before = shared_memory_names()
    clock = Clock()
    process = subprocess.Popen(
        argv, env=environment | (NO_BINDING if tp > 1 else {}), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace", start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    lines = process.stdout

    def read() -> None:
        for line in lines:
            clock.feed(line)

    threading.Thread(target=read, daemon=True).start()
    try:
        first_completion(Endpoint("127.0.0.1", home.port))
        end_s = time.monotonic()
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(60)
        time.sleep(SETTLE_S)
        # The stock server leaves processes and shared memory; the next run must not pay for them.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        remove_shared_memory(before)
    return Start(end_s - clock.started_s, clock.phases_s(end_s), clock.recompiled, size_of(own))


def run(home: EngineHome, tp: int, ours_begin: bool) -> dict[str, Start]:
    found = {}
    for mine in (ours_begin, not ours_begin):
        shutil.rmtree(home.state_dir if mine else home.root / "stock", ignore_errors=True)
        for which in ("first", "second"):
            name = f"{'ours' if mine else 'stock'} {which}"
            found[name] = ours(home, tp) if mine else stock(home, tp)
            print(f"  {name}: {found[name].total_s:.1f} s", flush=True)
    return found


def rows(tp: int, runs: list[dict[str, Start]]) -> list[tuple[str, str]]:
    totals = {name: [run[name].total_s for run in runs] for name in STARTS}
    result = [(f"TP {tp}, {name}, seconds", spread(totals[name])) for name in STARTS]
    for other in ("ours first", "stock second"):
        ratios = [mine / its for mine, its in zip(totals["ours second"], totals[other], strict=True)]
        result.append((f"TP {tp}, ours second / {other}", spread(ratios)))
    labels = [phase.label for phase in Phase if phase is not Phase.READY]
    for label in labels:
        each = [statistics.median(run[name].phases_s.get(label, 0.0) for run in runs) for name in STARTS]
        if any(each):
            result.append((f"TP {tp}, {label}: {', '.join(STARTS)}", ", ".join(f"{value:.1f}" for value in each)))
    return result


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--runs", type=int, default=5)
    arguments.add_argument("--tp", type=int, nargs="+", default=[1, 2])
    chosen = arguments.parse_args()
    result: dict[str, object] = {"runs": chosen.runs, "phases": "medians, seconds", "starts": {}}
    table: list[tuple[str, str]] = []
    starts: dict[str, object] = {}
    for tp in chosen.tp:
        home = engine_home(Path(chosen.engine_python))
        try:
            runs = []
            for index in range(chosen.runs):
                print(f"TP {tp}, run {index + 1}", flush=True)
                runs.append(run(home, tp, ours_begin=index % 2 == 0))
        finally:
            shutil.rmtree(home.root, ignore_errors=True)
        table += rows(tp, runs)
        starts[f"tp{tp}"] = [{name: vars(start) for name, start in each.items()} for each in runs]
    finish("second_start", chosen.output, {**result, "starts": starts}, table)
    return 0


if __name__ == "__main__":
    sys.exit(main())

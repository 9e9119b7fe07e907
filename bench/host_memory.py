"""Host memory and CPU of the engine's processes: the stock start and ours in turn, TP 1 and 2.

    python -m bench.host_memory [--runs 5] [--tp 1 2] [--idle 30]

The command line and environment that `render` gives, with `start = "stock"` and `load_format = "auto"`, which is the
engine as it comes, and with our defaults, "shared" and "sequential".  Memory is PSS (shared pages counted once,
proc(5)) of the whole process tree: its peak from the start to the end of decoding, and what it is made of when the
engine is ready.  The KV cache, which a rig has on its cards, is as small as the CPU build takes it.  Greedy completions
with their logprobs are compared as well: they have to be identical.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.common import engine_home, finish, parser, spread
from bench.time_to_ready import first_completion
from rigappliance.configfile import load_config
from rigappliance.endpoint import Endpoint
from rigappliance.launch.leftovers import remove_shared_memory, shared_memory_names
from rigappliance.launch.plugin import provide_loader
from rigappliance.launch.proctree import TICKS_PER_S, ProcessStat, command_line, descendants, read_stat
from rigappliance.render.vllm import render
from tests.engine.launching import EngineHome

WAYS = ("stock", "shared")
KV_CACHE = "16MiB"
LOADER = {"stock": "auto", "shared": "sequential"}
MIB = 2**20
SAMPLE_S = 0.5
PROMPTS = ("Say something.", "One two three", "The quick brown fox jumps over", "")
TOKENS = 64
# What ends each stage of a start, and whose work the stage was.
STAGES = (
    ("API server: imports", ("non-default args:",)),
    ("API server: configuration, core: its start and imports", ("Initializing a V1 LLM engine",)),
    ("worker: its start and imports", ("world_size=",)),
    ("worker: model made, weights loaded", ("Model loading took", "Loading weights took")),
    ("worker: compilation, warm-up, KV cache", ("init engine (profile, create kv cache",)),
    ("API server: HTTP", ("Application startup complete.",)),
)


def role(root: int, stat: ProcessStat) -> str:
    line = command_line(stat.pid)
    if line.startswith("VLLM::"):
        return line.split(" ")[0].removeprefix("VLLM::")
    if stat.pid == root:
        return "API server"
    if stat.name == "enginestart" or "enginestart/reaper.py" in line:
        return "template"
    return "resource tracker" if "resource_tracker" in line else "other"


def rollup(pid: int) -> tuple[int, int]:
    """PSS and USS in bytes; nothing of a process that is gone."""
    found = dict.fromkeys(("Pss", "Private_Clean", "Private_Dirty"), 0)
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            name, _, rest = line.partition(":")
            if name in found:
                found[name] = int(rest.split()[0]) * 1024
    return found["Pss"], found["Private_Clean"] + found["Private_Dirty"]


def by_kind(pid: int) -> dict[str, int]:
    """PSS in bytes: heap, anonymous mappings (Python's arenas and torch's memory), shared memory, libraries, files."""
    kinds = dict.fromkeys(("heap", "anonymous", "shared memory", "libraries", "other files"), 0)
    kind = "anonymous"
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        fields = line.split(maxsplit=5)
        if not fields[0].endswith(":"):
            path = fields[5] if len(fields) > 5 else ""
            if path == "[heap]":
                kind = "heap"
            elif path.startswith("/dev/shm/"):
                kind = "shared memory"
            elif path.startswith("/"):
                kind = "libraries" if ".so" in Path(path).name else "other files"
            else:
                kind = "anonymous"
        elif fields[0] == "Pss:":
            kinds[kind] += int(fields[1]) * 1024
    return kinds


class Sampler(threading.Thread):
    """Takes the tree's PSS again and again."""

    def __init__(self, root: int) -> None:
        super().__init__(daemon=True)
        self.root = root
        self.peak_pss: dict[str, int] = {}
        self.peak_uss: dict[str, int] = {}
        self.over = threading.Event()

    def sample(self) -> None:
        own = read_stat(self.root)
        pss: dict[str, int] = {}
        uss: dict[str, int] = {}
        for stat in [*([own] if own else []), *descendants(self.root)]:
            name = role(self.root, stat)
            a, b = rollup(stat.pid)
            pss[name] = pss.get(name, 0) + a
            uss[name] = uss.get(name, 0) + b
        if sum(pss.values()) > sum(self.peak_pss.values()):
            self.peak_pss, self.peak_uss = pss, uss

    def run(self) -> None:
        while not self.over.wait(SAMPLE_S):
            self.sample()


@dataclass
class Run:
    """What one start showed; bytes and seconds."""

    ready_s: float
    stages_s: dict[str, float]
    cpu_at_ready_s: dict[str, float]
    ready_pss: dict[str, int]
    ready_uss: dict[str, int]
    ready_kinds: dict[str, dict[str, int]]
    threads: dict[str, int]
    peak_pss: dict[str, int]
    peak_uss: dict[str, int]
    idle_cpu_s: float
    idle_s: float
    cpu_per_token_s: float
    wall_per_token_s: float
    answers: list[Any]
    log: str = field(repr=False)


def tree(root: int) -> list[ProcessStat]:
    own = read_stat(root)
    return [*([own] if own else []), *descendants(root)]


def cpu(root: int) -> dict[str, float]:
    """CPU seconds of each role so far."""
    found: dict[str, float] = {}
    for stat in tree(root):
        name = role(root, stat)
        found[name] = found.get(name, 0.0) + stat.cpu_ticks / TICKS_PER_S
    return found


def complete(port: int, prompt: str) -> Any:
    """Text and logprobs of one greedy completion."""
    from urllib.request import Request, urlopen

    body = {"model": "tiny-qwen2", "prompt": prompt, "max_tokens": TOKENS, "temperature": 0, "logprobs": 3}
    if not prompt:
        body["prompt"] = [1, 2, 3]
    request = Request(
        f"http://127.0.0.1:{port}/v1/completions",
        json.dumps({**body, "ignore_eos": True}).encode(),
        {"Content-Type": "application/json"},
    )
    with urlopen(request, timeout=120) as reply:
        choice = json.load(reply)["choices"][0]
    return {
        "text": choice["text"],
        "logprobs": choice["logprobs"]["token_logprobs"],
        "top": choice["logprobs"]["top_logprobs"],
    }


def watch_log(pipe: Any, log: list[tuple[float, str]]) -> None:
    for line in pipe:
        log.append((time.monotonic(), line.decode(errors="replace")))


def stages(started: float, log: list[tuple[float, str]]) -> dict[str, float]:
    """Seconds of each stage; a stage whose mark is not in the log counts to the next one."""
    found: dict[str, float] = {}
    before = started
    for name, marks in STAGES:
        ends = [at for at, line in log if any(mark in line for mark in marks)]
        if ends:
            found[name] = max(ends) - before if "init engine" not in marks[0] else ends[0] - before
            before = before + found[name]
    return found


def config(home: EngineHome, way: str, tp: int) -> Path:
    path = home.config(f"tp{tp}.toml")
    keys = f'tensor_parallel = {tp}\nkv_cache_memory = "{KV_CACHE}"\nstart = "{way}"\nload_format = "{LOADER[way]}"\n'
    text = path.read_text().replace("[engine]\n", f"[engine]\n{keys}")
    # One NUMA node: the CPU build binds no two ranks to it by itself, and would then give each all cores, whose
    # threads wait for each other in turn: 200 ms a token, that is about nothing else.
    several = '[engine.environment]\nVLLM_CPU_OMP_THREADS_BIND = "nobind"\nOMP_NUM_THREADS = "1"\n'
    path.write_text(text + (several if tp > 1 else ""))
    return path


def one_run(home: EngineHome, way: str, tp: int, idle_s: float) -> Run:
    declared = load_config(config(home, way, tp), environ={})
    command = render(declared)
    argv = list(command.argv)
    environment = provide_loader(declared, dict(command.environment))
    before = shared_memory_names()
    started = time.monotonic()
    process = subprocess.Popen(
        argv,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    log: list[tuple[float, str]] = []
    reader = threading.Thread(target=watch_log, args=(process.stdout, log), daemon=True)
    reader.start()
    sampler = Sampler(process.pid)
    sampler.start()
    try:
        first_completion(Endpoint("127.0.0.1", home.port))
        ready_s = time.monotonic() - started
        cpu_at_ready = cpu(process.pid)
        answers = [complete(home.port, prompt) for prompt in PROMPTS]
        now = tree(process.pid)
        ready_pss: dict[str, int] = {}
        ready_uss: dict[str, int] = {}
        for stat in now:
            name = role(process.pid, stat)
            pss, uss = rollup(stat.pid)
            ready_pss[name] = ready_pss.get(name, 0) + pss
            ready_uss[name] = ready_uss.get(name, 0) + uss
        kinds = {role(process.pid, stat): by_kind(stat.pid) for stat in now}
        threads = {role(process.pid, stat): len(list(Path(f"/proc/{stat.pid}/task").iterdir())) for stat in now}
        before_s, wall = sum(cpu(process.pid).values()), time.monotonic()
        for _ in range(3):
            complete(home.port, PROMPTS[0])
        per_token = (sum(cpu(process.pid).values()) - before_s) / (3 * TOKENS)
        wall_per_token = (time.monotonic() - wall) / (3 * TOKENS)
        sampler.sample()
        sampler.over.set()
        sampler.join()
        time.sleep(2)
        before_s, wall = sum(cpu(process.pid).values()), time.monotonic()
        time.sleep(idle_s)
        idle_cpu = sum(cpu(process.pid).values()) - before_s
        idle = time.monotonic() - wall
    finally:
        sampler.over.set()
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
        time.sleep(2)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        remove_shared_memory(before)
    return Run(
        ready_s,
        stages(started, log),
        cpu_at_ready,
        ready_pss,
        ready_uss,
        kinds,
        threads,
        sampler.peak_pss,
        sampler.peak_uss,
        idle_cpu,
        idle,
        per_token,
        wall_per_token,
        answers,
        "".join(line for _, line in log),
    )


def total(values: dict[str, int]) -> float:
    return sum(values.values()) / MIB


def summary(runs: list[Run]) -> dict[str, object]:
    """Medians of everything, by name, bytes and seconds."""

    def medians(dicts: list[dict[str, Any]]) -> dict[str, float]:
        return {name: statistics.median([one.get(name, 0) for one in dicts]) for name in dicts[0]}

    roles = list(runs[0].ready_kinds)
    return {
        "ready_s": [run.ready_s for run in runs],
        "stages_s": medians([run.stages_s for run in runs]),
        "cpu_at_ready_s": medians([run.cpu_at_ready_s for run in runs]),
        "peak_pss_bytes": [sum(run.peak_pss.values()) for run in runs],
        "peak_pss_by_process_bytes": medians([run.peak_pss for run in runs]),
        "peak_uss_by_process_bytes": medians([run.peak_uss for run in runs]),
        "ready_pss_by_process_bytes": medians([run.ready_pss for run in runs]),
        "ready_uss_by_process_bytes": medians([run.ready_uss for run in runs]),
        "ready_pss_by_kind_bytes": {name: medians([run.ready_kinds.get(name, {}) for run in runs]) for name in roles},
        "threads": medians([run.threads for run in runs]),
        "idle_cpu_share": [run.idle_cpu_s / run.idle_s for run in runs],
        "cpu_per_token_s": [run.cpu_per_token_s for run in runs],
        "wall_per_token_s": [run.wall_per_token_s for run in runs],
    }


def built_with(python: Path) -> str:
    """From Python 3.12 on, imports are shared for good (enginestart/immortal.py), and torch is half of them."""
    script = "import platform, torch; print(f'Python {platform.python_version()}, torch {torch.__version__}')"
    return subprocess.run([str(python), "-c", script], capture_output=True, text=True, check=True).stdout.strip()


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--runs", type=int, default=5)
    arguments.add_argument("--tp", type=int, nargs="+", default=[1, 2])
    arguments.add_argument("--idle", type=float, default=30.0, help="seconds over which CPU time is taken")
    arguments.add_argument("--logs", type=Path, help="directory for the engine's logs")
    chosen = arguments.parse_args()
    home = engine_home(Path(chosen.engine_python))
    built = built_with(Path(chosen.engine_python))
    result: dict[str, object] = {"engine_python": built}
    rows: list[tuple[str, str]] = [("the engine's Python and torch", built)]
    try:
        for tp in chosen.tp:
            # The first start compiles; both ways use what it leaves.
            one_run(home, "stock", tp, 0.0)
            runs: dict[str, list[Run]] = {way: [] for way in WAYS}
            for turn in range(chosen.runs):
                for way in WAYS if turn % 2 == 0 else WAYS[::-1]:
                    run = one_run(home, way, tp, chosen.idle)
                    runs[way].append(run)
                    print(
                        f"TP {tp} {way}: ready {run.ready_s:.1f} s, peak PSS {total(run.peak_pss):.0f} MiB, "
                        f"idle {run.idle_cpu_s / max(run.idle_s, 1e-9):.2%}, {run.cpu_per_token_s * 1e3:.1f} ms CPU, "
                        f"{run.wall_per_token_s * 1e3:.1f} ms a token",
                        flush=True,
                    )
                    if chosen.logs:
                        chosen.logs.mkdir(parents=True, exist_ok=True)
                        (chosen.logs / f"tp{tp}-{way}-{turn}.log").write_text(run.log)
            answers = [run.answers for way in WAYS for run in runs[way]]
            identical = all(one == answers[0] for one in answers)
            pairs = list(zip(runs["shared"], runs["stock"], strict=True))
            pss = [total(ours.peak_pss) / total(stock.peak_pss) for ours, stock in pairs]
            ready = [ours.ready_s / stock.ready_s for ours, stock in pairs]
            per_token = [ours.cpu_per_token_s / stock.cpu_per_token_s for ours, stock in pairs]
            result[f"tp{tp}"] = {
                **{way: summary(runs[way]) for way in WAYS},
                "peak_pss_ratios": pss,
                "ready_ratios": ready,
                "cpu_per_token_ratios": per_token,
                "answers_identical": identical,
            }
            for way in WAYS:
                rows += [
                    (f"TP {tp}, {way}: peak PSS, MiB", spread([total(run.peak_pss) for run in runs[way]])),
                    (f"TP {tp}, {way}: ready, s", spread([run.ready_s for run in runs[way]])),
                    (f"TP {tp}, {way}: CPU a token, ms", spread([run.cpu_per_token_s * 1e3 for run in runs[way]])),
                    (f"TP {tp}, {way}: a token, ms", spread([run.wall_per_token_s * 1e3 for run in runs[way]])),
                    (f"TP {tp}, {way}: idle, share of a core", spread([r.idle_cpu_s / r.idle_s for r in runs[way]])),
                ]
            rows += [
                (f"TP {tp}: peak PSS, ours / stock", spread(pss)),
                (f"TP {tp}: time to ready, ours / stock", spread(ready)),
                (f"TP {tp}: CPU a token, ours / stock", spread(per_token)),
                (f"TP {tp}: completions and logprobs", "identical" if identical else "DIFFERENT"),
            ]
    finally:
        shutil.rmtree(home.root, ignore_errors=True)
    finish("host_memory", chosen.output, {"runs": chosen.runs, **result}, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())

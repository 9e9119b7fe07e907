"""Time to ready under `launch` against the same server started bare, in turn; and how soon `wait` returns.

    python -m bench.time_to_ready [--pairs 5]

Bare means: the very command line and environment that `render` gives, started
by nothing but subprocess.  Both are asked for a completion by one and the same
outside prober; the bare server is ready when that succeeds, the launch when its
supervisor says so, which can only be later.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bench.common import engine_home, finish, parser, spread
from rigappliance.configfile import load_config
from rigappliance.endpoint import Endpoint, UnreachableError, complete_one_token, is_completion, port_open
from rigappliance.launch.leftovers import remove_shared_memory, shared_memory_names
from rigappliance.launch.plugin import provide_loader
from rigappliance.render.vllm import render
from tests.engine.launching import EngineHome, Launch

PROBE_S = 0.02


def first_completion(endpoint: Endpoint, limit_s: float = 300.0) -> float:
    """Wall-clock time of the first completion that succeeds."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        with suppress(UnreachableError):
            if port_open(endpoint, 0.2) and is_completion(complete_one_token(endpoint, "tiny-qwen2", 60.0)):
                return time.time()
        time.sleep(PROBE_S)
    raise TimeoutError("no completion")


def bare(home: EngineHome) -> float:
    """Seconds from the start of the process to the first completion."""
    declared = load_config(home.config(), environ={})
    command = render(declared)
    environment = provide_loader(declared, dict(command.environment))
    before = shared_memory_names()
    with (home.root / "bare.log").open("wb") as log:
        started = time.time()
        process = subprocess.Popen(
            command.argv, env={**os.environ, **environment}, stdout=log, stderr=log, start_new_session=True
        )
        ready = first_completion(Endpoint("127.0.0.1", home.port))
        process.terminate()
        process.wait()
    time.sleep(2)
    # The stock server leaves processes and shared memory; the next run must not pay for them.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    remove_shared_memory(before)
    return ready - started


@dataclass(frozen=True)
class Launched:
    ready_s: float
    first_completion_s: float
    wait_after_s: float


def launched(home: EngineHome) -> Launched:
    config = home.config(probe_interval="60s")
    wait = subprocess.Popen(
        [sys.executable, "-m", "rigappliance", "wait", "-c", str(config), "--quiet", "--timeout", "5min"]
    )
    started = time.time()
    one = Launch(home, config)
    first = first_completion(Endpoint("127.0.0.1", home.port))
    assert wait.wait() == 0
    waited = time.time()
    state = one.wait_ready()
    assert one.stop() == 0
    one.end()
    return Launched(state["ready"] - started, first - started, waited - first)


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--pairs", type=int, default=5)
    chosen = arguments.parse_args()
    home = engine_home(Path(chosen.engine_python))
    # Each way fills the caches that it uses.
    bare(home)
    launched(home)
    bare_s: list[float] = []
    launch_runs: list[Launched] = []
    for pair in range(chosen.pairs):
        # Each goes first in turn, so that a drift of the machine's speed cancels out.
        for mine in (pair % 2 == 0, pair % 2 == 1):
            if mine:
                launch_runs.append(launched(home))
            else:
                bare_s.append(bare(home))
        print(f"pair {pair + 1}: bare {bare_s[-1]:.2f} s, launch {launch_runs[-1].ready_s:.2f} s", flush=True)
    ratios = [run.ready_s / seconds for run, seconds in zip(launch_runs, bare_s, strict=True)]
    waits = [run.wait_after_s for run in launch_runs]
    finish(
        "time_to_ready",
        chosen.output,
        {
            "bare_s": bare_s,
            "launch_s": [run.ready_s for run in launch_runs],
            "ratio_median": statistics.median(ratios),
            "ratio_of_medians": statistics.median([r.ready_s for r in launch_runs]) / statistics.median(bare_s),
            "ratios": ratios,
            "ready_after_first_completion_s": [run.ready_s - run.first_completion_s for run in launch_runs],
            "wait_after_first_completion_s": waits,
        },
        [
            ("bare, seconds", spread(bare_s)),
            ("launch, seconds", spread([run.ready_s for run in launch_runs])),
            ("ratio launch / bare, pair by pair", spread(ratios)),
            ("`wait` returned after the first completion by, seconds", spread(waits)),
        ],
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What the plan says of KV cache and host memory, against real starts of the engine's CPU build.

    python -m bench.plan_accuracy [--only N]

Ten configurations. Each is planned, then started until it is ready and has answered; the tokens of the KV cache are
those that the engine logs, the memory is the largest sum of PSS and swap of its processes, looked at every half second.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.common import finish, parser
from rigappliance.configfile import load_config
from rigappliance.demo.checkpoint import TinyQwen2, write_checkpoint
from rigappliance.facts.machine import read_machine_facts
from rigappliance.launch.treememory import tree_memory
from rigappliance.plan.build import Plan, make_plan
from rigappliance.plan.coefficients import shipped
from rigappliance.plan.tensors import read_shape
from rigappliance.units import format_size
from tests.engine.launching import EngineHome, Launch

# Of each process, bytes by kind.
Parts = dict[str, dict[str, int]]
LOOK_S = 0.5
MIB = 1 << 20
# Two workers on a machine with one NUMA node want this.
NO_BINDING = {"VLLM_CPU_OMP_THREADS_BIND": "nobind"}


@dataclass(frozen=True)
class Case:
    """One start: the model's shape, and keys of the [engine] section."""

    name: str
    shape: TinyQwen2
    engine: dict[str, Any]
    environment: dict[str, str] = field(default_factory=dict)


SMALL = TinyQwen2()
WIDE = TinyQwen2(hidden_size=1024, intermediate_size=4096, layers=12, heads=16, kv_heads=4)
CASES = (
    Case("demo", SMALL, {}),
    Case("one KV head", TinyQwen2(kv_heads=1), {"kv_cache_memory": "64MiB"}),
    Case("all heads keep KV", TinyQwen2(kv_heads=4), {"kv_cache_memory": "100MiB"}),
    Case("heads of 128", TinyQwen2(hidden_size=512, heads=4), {"kv_cache_memory": "150MiB"}),
    Case("7 layers, odd length", TinyQwen2(layers=7), {"kv_cache_memory": "90MiB", "max_model_len": 1000}),
    Case("float32", SMALL, {"dtype": "float32", "kv_cache_memory": "128MiB"}),
    Case("512 MiB of KV", SMALL, {"kv_cache_memory": "512MiB", "max_model_len": 4096}),
    Case("400 MB of weights", WIDE, {"kv_cache_memory": "256MiB"}),
    Case("TP 2", SMALL, {"tensor_parallel": 2, "kv_cache_memory": "64MiB"}, NO_BINDING),
    Case("TP 2, 400 MB of weights", WIDE, {"tensor_parallel": 2, "kv_cache_memory": "200MiB"}, NO_BINDING),
)


@dataclass(frozen=True)
class Outcome:
    case: str
    tokens_planned: int
    tokens_logged: int
    memory_planned_bytes: int
    memory_measured_bytes: int
    parts_bytes: Parts

    @property
    def tokens_error(self) -> float:
        return self.tokens_planned / self.tokens_logged - 1

    @property
    def memory_error(self) -> float:
        return self.memory_planned_bytes / self.memory_measured_bytes - 1


def toml(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def configured(home: EngineHome, case: Case) -> Path:
    path = home.config()
    text = path.read_text()
    keys = "".join(f"{key} = {toml(value)}\n" for key, value in case.engine.items())
    if case.environment:
        pairs = ", ".join(f"{key} = {toml(value)}" for key, value in case.environment.items())
        keys += f"environment = {{ {pairs} }}\n"
    path.write_text(text.replace("[engine]\n", f"[engine]\n{keys}"))
    return path


def run(case: Case, python: Path) -> Outcome:
    root = Path(tempfile.mkdtemp(prefix="rigbench-"))
    write_checkpoint(root / "checkpoint", case.shape)
    home = EngineHome(root, python.absolute(), root / "checkpoint")
    path = configured(home, case)
    planned = plan(path)
    launch = Launch(home, path)
    try:
        state, most, parts = watch(launch)
        subprocess.run(
            [sys.executable, "-m", "rigappliance", "ask", "-c", str(path), "Who are you?"],
            check=True,
            capture_output=True,
        )
        most, parts = larger(launch, most, parts)
    finally:
        launch.process.terminate()
        launch.process.wait(60)
    assert planned.kv_tokens is not None
    memory = max(phase.ledger.used_bytes - supervisor_bytes(planned) for phase in planned.host.phases)
    return Outcome(case.name, planned.kv_tokens, state["kv_tokens"], memory, most, parts)


def plan(path: Path) -> Plan:
    config = load_config(path, profile=None)
    facts = read_machine_facts(config.state_dir)
    return make_plan(config, read_shape(config.model.path), facts, shipped(), largest_shard_bytes=0)


def supervisor_bytes(planned: Plan) -> int:
    """It is not among the engine's processes."""
    return planned.host.phases[0].ledger.bytes_of("supervisor")


def watch(launch: Launch) -> tuple[dict[str, Any], int, Parts]:
    """The state when it is ready, and the most memory that its processes had until then."""
    most, parts = 0, Parts()
    while True:
        state = launch.own_state()
        most, parts = larger(launch, most, parts)
        if state and state["ready"]:
            return state, most, parts
        assert launch.process.poll() is None, launch.errors()
        time.sleep(LOOK_S)


def larger(launch: Launch, most: int, parts: Parts) -> tuple[int, Parts]:
    state = launch.own_state()
    if not state or not state["engine_pid"]:
        return most, parts
    found = tree_memory(state["engine_pid"])
    total = sum(each.pss_bytes + each.swap_bytes for each in found)
    if total <= most:
        return most, parts
    return total, {
        f"{each.name} {each.pid}": {"pss": each.pss_bytes, "own": each.own_bytes, "swap": each.swap_bytes}
        for each in found
    }


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--only", type=int, action="append", help="number of a configuration, from 0")
    chosen = arguments.parse_args()
    outcomes = []
    for number, case in enumerate(CASES):
        if chosen.only and number not in chosen.only:
            continue
        done = run(case, chosen.engine_python)
        outcomes.append(done)
        parts = {
            name: " ".join(f"{kind} {round(size / MIB)}" for kind, size in sizes.items())
            for name, sizes in done.parts_bytes.items()
        }
        memory = f"{format_size(done.memory_planned_bytes, 2)} planned, {format_size(done.memory_measured_bytes, 2)}"
        print(
            f"{number} {done.case}: {done.tokens_planned} tokens planned, {done.tokens_logged} logged; "
            f"memory {memory} measured {parts}",
            flush=True,
        )
    tokens = max(abs(each.tokens_error) for each in outcomes)
    sizes = max(abs(each.memory_error) for each in outcomes)
    rows = [(each.case, f"tokens {each.tokens_error:+.2%}, memory {each.memory_error:+.1%}") for each in outcomes]
    rows += [("largest error of tokens", f"{tokens:.2%}"), ("largest error of memory", f"{sizes:.1%}")]
    cases = [{**vars(each), "tokens_error": each.tokens_error, "memory_error": each.memory_error} for each in outcomes]
    finish("plan_accuracy", chosen.output, {"tokens_error": tokens, "memory_error": sizes, "cases": cases}, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())

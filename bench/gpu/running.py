"""One case: plan it, start it as an operator would, ask it, stop it, and keep what was seen."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bench.gpu.cardwatch import CardWatch
from bench.gpu.cases import Case
from bench.gpu.checkpoints import hollow, shape_with
from bench.gpu.gate import VARIABLE
from bench.gpu.hostmemory import process_memory
from rigappliance.facts.gpu import read_gpu_facts
from rigappliance.launch.proctree import descendants
from rigappliance.launch.treememory import tree_memory

READY_LIMIT_S = 240.0
FIRST_PORT = 8011
# The rig's cards take Marlin's kernels where Hopper has its own, and FlashInfer is not carried.
ENVIRONMENT = {"VLLM_DISABLED_KERNELS": "MacheteLinearKernel", "VLLM_USE_FLASHINFER_SAMPLER": "0"}


@cache
def card_memory_bytes() -> int:
    return read_gpu_facts().cards[0].memory_total_bytes or 0


def toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(each)}" for key, each in value.items()) + " }"
    return f'"{value}"' if isinstance(value, str) else str(value)


def write_config(
    path: Path, checkpoint: Path, state: Path, python: Path, case: Case, port: int = FIRST_PORT, **engine: Any
) -> Path:
    gate, cards = engine.pop("gate", None), engine.pop("cards", 1)
    environment = ENVIRONMENT | engine.pop("environment", {}) | ({VARIABLE: str(gate)} if gate else {})
    keys = {
        "python": str(python), "entrypoint": "module", "tensor_parallel": 1, "load_format": "dummy",
        **case.engine, "options": case.options, "environment": environment, **engine,
    }  # fmt: skip
    lines = [
        f'state_dir = "{state}"', "[model]", f'path = "{checkpoint}"', 'name = "shape"',
        "[engine]", *(f"{key} = {toml(value)}" for key, value in keys.items()),
        "[server]", f"port = {port}",
        "[memory]", 'swap = "0B"',
        "[hardware]", f"cards = {cards}", f'card_memory = "{card_memory_bytes()}B"', 'ram = "100GB"',
        "[launch]", 'probe_interval = "2s"', 'probe_timeout = "10s"', 'drain_timeout = "10s"',
    ]  # fmt: skip
    path.write_text("\n".join(lines) + "\n")
    return path


def verb(*arguments: str, limit_s: float = 120.0, environment: dict[str, str] | None = None) -> dict[str, Any]:
    """Run one verb of the product; its exit status, what it said, and how long it took."""
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "rigappliance", *arguments],
        capture_output=True, text=True, timeout=limit_s, env={**os.environ, **(environment or {})}, check=False,
    )  # fmt: skip
    seconds = round(time.monotonic() - started, 2)
    return {"verb": arguments[0], "status": done.returncode, "out": done.stdout, "err": done.stderr, "seconds": seconds}


def parsed(answer: dict[str, Any]) -> Any:
    with suppress(ValueError):
        return json.loads(answer["out"])
    return None


@dataclass
class Started:
    """A launch whose core may still wait before its gate; ``told`` is what is known of it so far."""

    case: Case
    number: int
    config: Path
    state: Path
    gate: Path
    log: Path
    process: subprocess.Popen[bytes]
    told: dict[str, Any]
    port: int
    during: Any = None

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.told["exit_status"] = self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.told["exit_status"] = "killed"
        if hasattr(self.during, "close"):
            self.during.close()


def configured(case: Case, work: Path, python: Path, number: int, **more: Any) -> tuple[Path, Path, Path]:
    """The files of a case: configuration, state directory, gate.

    ``more``: ``checkpoint``, ``state``, keys of [engine].
    """
    own = number if case.like is None else number - number % 10 + case.like
    checkpoint = more.pop("checkpoint", None) or work / f"checkpoint{own}"
    if not checkpoint.exists():
        hollow(shape_with(case.model, **case.shape), checkpoint)
    # Those that share a checkpoint share the caches in their state directory.
    state = more.pop("state", None) or work / f"state{own}"
    gate = work / f"gate{number}"
    gate.unlink(missing_ok=True)
    port = FIRST_PORT + number
    return (
        write_config(work / f"case{number}.toml", checkpoint, state, python, case, port, gate=gate, **more),
        state,
        gate,
    )


def planned(case: Case, config: Path) -> dict[str, Any]:
    """What the plan says while nothing else has the card."""
    return {
        "case": case.name, "expected_to_fit": case.fits, "expected_cause": case.cause, "engine": case.engine,
        "options": case.options, "plan": parsed(verb("plan", "-c", str(config), "--json")),
    }  # fmt: skip


def launch_command(config: Path) -> list[str]:
    """Whatever checks and plan say: what they refuse is to be seen failing."""
    return [sys.executable, "-m", "rigappliance", "launch", "-c", str(config), "--force", "--plain"]


def begin(
    case: Case, number: int, files: tuple[Path, Path, Path], told: dict[str, Any], logs: Path,
    environment: dict[str, str] | None = None, during: Any = None,
) -> Started:  # fmt: skip
    config, state, gate = files
    wanted = {**os.environ, **(environment or {})}
    log = logs / f"launch{number}.err"
    with log.open("wb") as err:
        process = subprocess.Popen(
            launch_command(config),
            stdout=err, stderr=err, env={name: value for name, value in wanted.items() if value},
        )  # fmt: skip
    return Started(case, number, config, state, gate, log, process, dict(told), FIRST_PORT + number, during)


def finish(one: Started, logs: Path) -> dict[str, Any]:
    """Open its gate, watch it until it has served or failed, stop it; times count from the opened gate."""
    reached = Path(f"{one.gate}.reached")
    while one.process.poll() is None and not reached.exists():
        time.sleep(0.05)
    told = one.told
    started = time.monotonic()
    with CardWatch() as card:
        one.gate.touch()
        try:
            told.update(watch(one, started, card))
        finally:
            one.close()
    told["seconds"] = round(time.monotonic() - started, 2)
    told["card"] = {
        "before_bytes": card.before_bytes, "peak_bytes": card.peak_bytes, "after_bytes": card.used(),
        "serving_peak_bytes": card.peak_since_mark_bytes if told["ready_s"] else None, "series": card.series,
    }  # fmt: skip
    told["left_segments"] = []
    told["state"] = read(one.state / "state.json")
    told["why"] = parsed(verb("why", "-c", str(one.config), "--json")) if told["exit_status"] else None
    with suppress(OSError):
        shutil.copy(one.state / "engine.log", logs / f"engine{one.number}.log")
    return told


def read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def watch(one: Started, started: float, card: CardWatch) -> dict[str, Any]:
    """Until it is ready or has ended; then answers, one to a prompt that fills a step, and each process's memory."""
    process, state, config, case = one.process, one.state, one.config, one.case
    while time.monotonic() - started < READY_LIMIT_S:
        if process.poll() is not None:
            return {"ready_s": None}
        found = read(state / "state.json") or {}
        if found.get("supervisor_pid") == process.pid and found.get("ready"):
            ready = round(time.monotonic() - started, 2)
            card.mark()
            processes = [{**vars(each), **process_memory(each.pid)} for each in tree_memory(found["engine_pid"])]
            full = full_step(case, one.port)
            answer = verb("ask", "-c", str(config), "--max-tokens", "16", "Who are you?")
            wait = verb("wait", "-c", str(config))
            extra = one.during(config, found, descendants(process.pid)) if one.during else None
            return {
                "ready_s": ready, "processes": processes, "ask": answer, "full_step": full, "wait": wait,
                "during": extra,
            }  # fmt: skip
        time.sleep(0.1)
    return {"ready_s": None, "late": True}


def full_step(case: Case, port: int) -> dict[str, Any]:
    """A completion whose prompt is as long as a step may be, or as a request may be where that is less."""
    tokens = min(case.engine.get("max_num_batched_tokens", 2048), case.engine["max_model_len"] - 16)
    body = json.dumps({"model": "shape", "prompt": [7] * tokens, "max_tokens": 2}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/completions", body, {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            usage = json.loads(answer.read()).get("usage")
            return {"status": answer.status, "prompt_tokens": (usage or {}).get("prompt_tokens")}
    except (OSError, ValueError) as error:
        return {"status": getattr(error, "code", None), "error": str(error)}

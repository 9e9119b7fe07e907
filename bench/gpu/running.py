"""One case: plan it, start it as an operator would, ask it, stop it, and keep what was seen."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.gpu.cardwatch import CardWatch
from bench.gpu.cases import Case
from bench.gpu.checkpoints import hollow, shape_with
from rigappliance.launch.leftovers import shared_memory_names
from rigappliance.launch.proctree import descendants
from rigappliance.launch.treememory import tree_memory

READY_LIMIT_S = 240.0
# The rig's cards take Marlin's kernels where Hopper has its own, and FlashInfer is not carried.
ENVIRONMENT = {"VLLM_DISABLED_KERNELS": "MacheteLinearKernel", "VLLM_USE_FLASHINFER_SAMPLER": "0"}


def toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(each)}" for key, each in value.items()) + " }"
    return f'"{value}"' if isinstance(value, str) else str(value)


def write_config(path: Path, checkpoint: Path, state: Path, python: Path, case: Case, **engine: Any) -> Path:
    keys = {
        "python": str(python), "entrypoint": "module", "tensor_parallel": 1, "load_format": "dummy",
        **case.engine, "options": case.options, "environment": ENVIRONMENT, **engine,
    }  # fmt: skip
    lines = [
        f'state_dir = "{state}"', "[model]", f'path = "{checkpoint}"', 'name = "shape"',
        "[engine]", *(f"{key} = {toml(value)}" for key, value in keys.items()),
        "[server]", "port = 8011",
        "[memory]", 'swap = "0B"',
        "[hardware]", "cards = 1", 'card_memory = "79GiB"', 'ram = "100GB"',
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


def run(case: Case, work: Path, python: Path, logs: Path, number: int, **more: Any) -> dict[str, Any]:
    """``more``: ``environment`` of the start, ``checkpoint``, ``state``, ``checked``, keys of [engine]."""
    checkpoint = more.pop("checkpoint", None) or work / f"checkpoint{number}"
    if not checkpoint.exists():
        hollow(shape_with(case.model, **case.shape), checkpoint)
    state = more.pop("state", None) or work / "state"
    environment = more.pop("environment", None)
    during = more.pop("during", None)
    more_checks = more.pop("checked", number == 0)
    config = write_config(work / f"case{number}.toml", checkpoint, state, python, case, **more)
    told: dict[str, Any] = {"case": case.name, "expected_to_fit": case.fits}
    told["plan"] = parsed(verb("plan", "-c", str(config), "--json"))
    if more_checks:
        told["check"] = parsed(verb("check", "-c", str(config), "--json"))
    before = shared_memory_names()
    started = time.monotonic()
    with CardWatch() as card, (logs / f"launch{number}.err").open("wb") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "rigappliance", "launch", "-c", str(config), "--force", "--plain"],
            stdout=err, stderr=err, env={**os.environ, **(environment or {})},
        )  # fmt: skip
        try:
            told.update(watch(process, state, config, started, during))
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            try:
                told["exit_status"] = process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                told["exit_status"] = "killed"
    told["seconds"] = round(time.monotonic() - started, 2)
    told["card"] = {"before_bytes": card.before_bytes, "peak_bytes": card.peak_bytes, "after_bytes": card.used()}
    told["left_segments"] = sorted(shared_memory_names() - before)
    told["state"] = read(state / "state.json")
    told["why"] = parsed(verb("why", "-c", str(config), "--json")) if told["exit_status"] else None
    with suppress(OSError):
        shutil.copy(state / "engine.log", logs / f"engine{number}.log")
    return told


def read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def watch(process: subprocess.Popen[bytes], state: Path, config: Path, started: float, during: Any) -> dict[str, Any]:
    """Until it is ready or has ended; then one answer, and the memory of each process."""
    while time.monotonic() - started < READY_LIMIT_S:
        if process.poll() is not None:
            return {"ready_s": None}
        found = read(state / "state.json") or {}
        if found.get("supervisor_pid") == process.pid and found.get("ready"):
            ready = round(time.monotonic() - started, 2)
            processes = [vars(each) for each in tree_memory(found["engine_pid"])]
            answer = verb("ask", "-c", str(config), "--max-tokens", "16", "Who are you?")
            wait = verb("wait", "-c", str(config))
            extra = during(config, found, descendants(process.pid)) if during else None
            return {"ready_s": ready, "processes": processes, "ask": answer, "wait": wait, "during": extra}
        time.sleep(0.2)
    return {"ready_s": None, "late": True}

"""TP 2 against PP 2 over slow links, and whether the plan ranks them as they are.

    python3 -m bench.gpu.twocards --python ENGINE --work DIR --out DIR [--any-link]

Both serve the same shape; each is measured at 1, 8 and 32 requests by the engine's own client. The plan is asked for a
machine with the same cards on links of PCIe x1. OUT/twocards.json has both, and which was faster by either.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from bench.gpu import slowlinks
from bench.gpu.cases import INT8, Case, at, layers
from bench.gpu.checkpoints import hollow, shape_with
from bench.gpu.running import launch_command, parsed, read, verb, write_config
from bench.gpu.speed import Speed

CONCURRENCIES = (1, 8, 32)
LAYOUTS = {"TP 2 × PP 1": (2, 1), "TP 1 × PP 2": (1, 2)}
READY_LIMIT_S = 300.0


def case_of(tensor: int, pipeline: int) -> Case:
    engine = at(0.8, tensor_parallel=tensor, pipeline_parallel=pipeline)
    return Case(f"TP {tensor} × PP {pipeline}", INT8, layers(16), engine, options=dict(slowlinks.OPTIONS))


def on_slow_links(facts: Path, target: Path) -> Path:
    """The machine's facts with each card on such a link."""
    content = json.loads(facts.read_text())
    for card in content["gpu"]["cards"]:
        for kind in ("", "_max"):
            card[f"pcie_generation{kind}"], card[f"pcie_width{kind}"] = slowlinks.GENERATION, slowlinks.WIDTH
    content["gpu"]["peers"] = None
    target.write_text(json.dumps(content))
    return target


def measured(config: Path, state: Path, python: Path, checkpoint: Path, log: Path) -> dict[str, Any]:
    """Start it, ask it, stop it."""
    speed = Speed(config, python, checkpoint, operators=False, concurrencies=CONCURRENCIES)
    with log.open("wb") as err:
        process = subprocess.Popen(launch_command(config), stdout=err, stderr=err)
    try:
        started = time.monotonic()
        while time.monotonic() - started < READY_LIMIT_S and process.poll() is None:
            found = read(state / "state.json") or {}
            if found.get("supervisor_pid") == process.pid and found.get("ready"):
                return {"ready_s": time.monotonic() - started, **speed(config, found, [])}
            time.sleep(0.2)
        return {"ready_s": None, "why": parsed(verb("why", "-c", str(config), "--json"))}
    finally:
        process.terminate()
        process.wait(60)
        speed.close()


def rates(kind: str, found: dict[str, Any]) -> dict[str, float]:
    """Tokens a second by concurrency, the middle of the rounds."""
    return {
        str(each["concurrency"]): statistics.median(each["tokens_s"])
        for each in found.get("figures", ())
        if each["kind"] == kind
    }


def compared(plan: dict[str, Any], seen: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Of each kind and concurrency: both layouts planned and measured, and whether the same one is faster."""
    layouts = {
        name: each
        for each in plan["layouts"]
        for name, shape in LAYOUTS.items()
        if (each["tensor_parallel"], each["pipeline_parallel"]) == shape
    }
    found = []
    for kind in ("decode", "prefill"):
        for count in map(str, CONCURRENCIES):
            told = {
                name: each["decode_tokens_s"][count] if kind == "decode" else each["prefill_tokens_s"]
                for name, each in layouts.items()
            }
            got = {name: value for name, one in seen.items() if (value := rates(kind, one).get(count))}
            both = len(told) == len(got) == len(LAYOUTS)
            same = both and max(told, key=lambda name: told[name]) == max(got, key=lambda name: got[name])
            found.append({"kind": kind, "concurrency": int(count), "planned": told, "measured": got, "same": same})
    return found


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--python", type=Path, required=True, help="the engine's interpreter")
    arguments.add_argument("--work", type=Path, required=True)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--any-link", action="store_true", help="measure even where the loopback has no limit")
    chosen = arguments.parse_args()
    chosen.work.mkdir(parents=True, exist_ok=True)
    checkpoint = chosen.work / "two"
    if not checkpoint.exists():
        hollow(shape_with(INT8, **layers(16)), checkpoint)
    facts = chosen.out / "machine.json"
    verb("facts", "--output", str(facts))
    slow = on_slow_links(facts, chosen.out / "slow.json")
    seen: dict[str, dict[str, Any]] = {}
    plan: dict[str, Any] = {"layouts": []}
    try:
        with nullcontext() if chosen.any_link else slowlinks.limited():
            for number, (name, shape) in enumerate(LAYOUTS.items()):
                config, state = chosen.work / f"two{number}.toml", chosen.work / f"two{number}"
                write_config(
                    config, checkpoint, state, chosen.python, case_of(*shape), 8070 + number, cards=2,
                    environment=slowlinks.ENVIRONMENT,
                )  # fmt: skip
                plan = parsed(verb("plan", "-c", str(config), "--machine", str(slow), "--json")) or plan
                seen[name] = measured(config, state, chosen.python, checkpoint, chosen.out / f"two{number}.err")
    except slowlinks.NoLimitError as error:
        print(error, file=sys.stderr)
        return 2
    result = {"measured": seen, "compared": compared(plan, seen)}
    (chosen.out / "twocards.json").write_text(json.dumps(result, indent=1) + "\n")
    for each in result["compared"]:
        print(each)
    return 0


if __name__ == "__main__":
    sys.exit(main())

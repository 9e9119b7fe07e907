"""What all benches share: an engine to start, the machine's description, a table and a JSON file."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rigappliance import ENGINE_VERSION
from rigappliance.demo.checkpoint import write_checkpoint
from rigappliance.facts.host import read_host_facts
from rigappliance.units import format_size
from tests.engine.launching import EngineHome

ROOT = Path(__file__).resolve().parent.parent


def parser(description: str | None) -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser(description=description)
    arguments.add_argument("--engine-python", type=Path, default=ROOT / ".engine" / "bin" / "python")
    arguments.add_argument("--output", type=Path, help="JSON file; default: bench/results/NAME.json")
    return arguments


def engine_home(python: Path) -> EngineHome:
    """A fresh checkpoint and state directory; the first start of it compiles."""
    root = Path(tempfile.mkdtemp(prefix="rigbench-"))
    write_checkpoint(root / "checkpoint")
    return EngineHome(root, python.absolute(), root / "checkpoint")


def machine() -> dict[str, object]:
    host = read_host_facts(Path("/"))
    return {
        "cpu": host.cpu.model,
        "cores": os.cpu_count(),
        "ram": format_size(host.ram_total_bytes or 0),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "engine": f"vLLM {ENGINE_VERSION}, CPU build",
    }


def command() -> str:
    """As it was typed, without where it wrote."""
    spec = sys.modules["__main__"].__spec__
    name = spec.name.removesuffix(".__main__") if spec else Path(sys.argv[0]).stem
    words = ["python", "-m", name]
    skipped = False
    for word in sys.argv[1:]:
        if skipped or word in ("--output", "--engine-python"):
            skipped = not skipped
        elif not word.startswith(("--output=", "--engine-python=")):
            words.append(word)
    return shlex.join(words)


def spread(values: Sequence[float]) -> str:
    """``"median (least to most)"``."""
    return f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def finish(name: str, output: Path | None, result: dict[str, object], rows: Sequence[tuple[str, str]]) -> None:
    """Print ``rows`` as a table and write ``result`` as JSON."""
    width = max(len(label) for label, _ in rows)
    for label, value in rows:
        print(f"{label:<{width}}  {value}")
    path = output or ROOT / "bench" / "results" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "bench": name,
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(),
        "command": command(),
        "rows": [list(row) for row in rows],
        **result,
    }
    path.write_text(json.dumps(content, indent=1) + "\n")
    print(f"written to {path}")

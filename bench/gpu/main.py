"""Hold the product against a real card: `python3 -m bench.gpu.main STAGE... --python ENGINE --work DIR --out DIR`.

Stages: facts (the machine, its checks), fitting and refused (the plan against starts), failures (real ones, named),
loaders (a checkpoint with bytes in it, read the stock way and ours), bench (the operator's figures). Each stage writes
OUT/STAGE.json and all logs of engines so far, OUT/logs.tar.xz, as soon as it has something.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tarfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench.gpu.cases import FITTED, FITTING, INT8, REFUSED, Case, layers
from bench.gpu.checkpoints import filled, shape_with
from bench.gpu.failures import failures, kill_part
from bench.gpu.running import ENVIRONMENT, parsed, run, verb, write_config

FIRST_FITTED, FIRST_REFUSED = 20, 30
STAGES = ("facts", "fitting", "fitted", "refused", "failures", "loaders", "bench")


class Session:
    def __init__(self, chosen: argparse.Namespace) -> None:
        self.python: Path = chosen.python
        self.work: Path = chosen.work
        self.out: Path = chosen.out
        self.only: list[int] | None = chosen.only
        self.deadline: float = time.monotonic() + chosen.seconds
        self.start = "shared"
        self.logs = self.work / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)

    def left(self) -> bool:
        return time.monotonic() < self.deadline

    def keep(self, stage: str, found: Any) -> None:
        (self.out / f"{stage}.json").write_text(json.dumps(found, indent=1, default=str) + "\n")
        with tarfile.open(self.out / "logs.tar.xz", "w:xz") as archive:
            archive.add(self.logs, "logs")

    def facts(self) -> Iterator[Any]:
        yield verb("facts", "--output", str(self.out / "machine.json"))
        config = write_config(
            self.work / "facts.toml", self.work / "none", self.work / "state", self.python, Case("facts", INT8, {}, {})
        )
        answer = verb("check", "-c", str(config), "--json")
        yield {"status": answer["status"], "findings": parsed(answer), "err": answer["err"]}

    def cases(self, cases: tuple[Case, ...], first: int) -> Iterator[Any]:
        for number, case in enumerate(cases, start=first):
            if self.left() and (self.only is None or number in self.only):
                told = self.one(case, number)
                yield told
                if case.fits and not told["ready_s"] and self.start == "shared":
                    # Say whether it is the shared import that fails here, and go on without it.
                    self.start = "stock"
                    yield self.one(case, number)

    def one(self, case: Case, number: int) -> Any:
        during = kill_part(case.kills) if case.kills else None
        told = run(case, self.work, self.python, self.logs, number, during=during, start=self.start)
        return {**told, "start": self.start}

    def fitted(self) -> Iterator[Any]:
        yield from self.cases(FITTED, FIRST_FITTED)

    def fitting(self) -> Iterator[Any]:
        yield from self.cases(FITTING, 0)

    def refused(self) -> Iterator[Any]:
        yield from self.cases(REFUSED, FIRST_REFUSED)

    def failures(self) -> Iterator[Any]:
        yield from failures(self.work, self.python, self.logs)

    def loaders(self) -> Iterator[Any]:
        """In turn, three times each; the first pair reads what was just written, so all are warm."""
        checkpoint = self.work / "filled"
        size = None if checkpoint.exists() else filled(shape_with(INT8, **layers(4), vocab_size=32768), checkpoint)
        done = subprocess.run(
            [str(self.python), "-m", "bench.gpu.loading", str(checkpoint)],
            capture_output=True, text=True, timeout=300, env={**os.environ, **ENVIRONMENT}, check=False,
        )  # fmt: skip
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        yield {"case": "loaders", "bytes": size, "status": done.returncode, "loads": lines, "err": done.stderr[-6000:]}

    def bench(self) -> Iterator[Any]:
        checkpoint = self.work / "checkpoint0"
        config = write_config(self.work / "bench.toml", checkpoint, self.work / "state", self.python, FITTING[0])
        answer = verb("bench", "-c", str(config), "--start", "--quick", "--json", limit_s=400)
        yield {"status": answer["status"], "report": parsed(answer), "err": answer["err"][-4000:]}


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("stages", nargs="+", choices=STAGES)
    arguments.add_argument("--python", type=Path, required=True, help="the engine's interpreter")
    arguments.add_argument("--work", type=Path, required=True)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--only", type=int, action="append", help="number of a case; default: all")
    arguments.add_argument("--seconds", type=float, default=520, help="start nothing new after so long")
    chosen = arguments.parse_args()
    session = Session(chosen)
    for stage in chosen.stages:
        found: list[Any] = []
        step: Callable[[], Iterator[Any]] = getattr(session, stage)
        try:
            for each in step():
                found.append(each)
                session.keep(stage, found)
                say(stage, each)
        except Exception:
            # What was seen so far is kept: the machine may be gone afterwards.
            found.append({"error": traceback.format_exc()})
            session.keep(stage, found)
            print(found[-1]["error"], flush=True)
    return 0


def say(stage: str, told: dict[str, Any]) -> None:
    state, plan = told.get("state") or {}, told.get("plan") or {}
    why = told.get("why") or {}
    print(
        stage, told.get("case", ""), "ready", told.get("ready_s"), "verdict", plan.get("verdict"), "tokens",
        plan.get("kv_tokens"), state.get("kv_tokens"), "exit", told.get("exit_status"), "cause", why.get("cause"),
        "expected", told.get("expected_cause"),
        (told.get("ask") or {}).get("status"), flush=True,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())

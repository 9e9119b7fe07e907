"""Hold the product against a real card: `python3 -m bench.gpu.main STAGE... --python ENGINE --work DIR --out DIR`.

Stages: facts (the machine, its checks), starts (the plan against starts; fitting, refused and spoilt ones, with what
`why` says; those numbered from 60 on are measured with the engine's client, and one of them by `rigappliance bench`),
loaders (a checkpoint with bytes in it, read the stock way and ours). Each stage writes OUT/STAGE.json and all logs of
engines so far, OUT/logs.tar.xz, as soon as it has something.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tarfile
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from bench.gpu import failures, gate
from bench.gpu.cases import CHOICES, FITTED, FITTING, INT8, REFUSED, SPOILT, Case, layers
from bench.gpu.checkpoints import filled, shape_with
from bench.gpu.gate import STACKS
from bench.gpu.running import ENVIRONMENT, Started, begin, configured, finish, parsed, planned, verb, write_config
from bench.gpu.speed import Speed
from rigappliance.launch.leftovers import shared_memory_names

NUMBERED = {
    **dict(enumerate(FITTING)),
    **dict(enumerate(FITTED, start=20)),
    **dict(enumerate(REFUSED, start=30)),
    **dict(enumerate(SPOILT, start=50)),
    **dict(enumerate(CHOICES, start=60)),
}
FIRST_CHOICE = 60
# The one that an operator has: it is measured by `rigappliance bench`, too.
OPERATORS = 61
NO_COMPILER, CARD_HELD = 50, 51
# What tells most for its time comes first; what shares caches with another comes after it.
ORDER = (3, 6, 30, 31, 32, 33, CARD_HELD, NO_COMPILER, 0, 9, 1, 8, 4, 7, 2, 5)
# Launches that import while another has the card.
AHEAD = 3
STAGES = ("facts", "starts", "loaders")


class Session:
    def __init__(self, chosen: argparse.Namespace) -> None:
        self.python: Path = chosen.python
        self.work: Path = chosen.work
        self.out: Path = chosen.out
        self.order: tuple[int, ...] = tuple(chosen.only or ORDER)
        self.deadline: float = time.monotonic() + chosen.seconds
        self.logs = self.work / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        self.segments = shared_memory_names()
        self.loading = Loading(self.python, self.work) if "loaders" in chosen.stages else None
        found = subprocess.run(
            [str(self.python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        gate.provide(Path(found.stdout.strip()))
        self.starter = Starter(self) if "starts" in chosen.stages else None

    def left_s(self) -> float:
        return self.deadline - time.monotonic()

    def keep(self, stage: str, found: Any) -> None:
        (self.out / f"{stage}.json").write_text(json.dumps(found, indent=1, default=str) + "\n")
        with tarfile.open(self.out / "logs.tar.xz", "w:xz") as archive:
            archive.add(self.logs, "logs")
            if directory := os.environ.get(STACKS):
                archive.add(directory, "stacks")

    def facts(self) -> Iterator[Any]:
        yield verb("facts", "--output", str(self.out / "machine.json"))
        config = write_config(
            self.work / "facts.toml", self.work / "none", self.work / "state", self.python, Case("facts", INT8, {}, {})
        )
        answer = verb("check", "-c", str(config), "--json")
        yield {"status": answer["status"], "findings": parsed(answer), "err": answer["err"]}

    def starts(self) -> Iterator[Any]:
        """One after the other as far as the card is concerned; the next ones import meanwhile."""
        assert self.starter is not None
        try:
            while self.starter.begun and self.left_s() > 0:
                one = self.starter.begun[0]
                with self.around(one.number):
                    told = finish(one, self.logs)
                self.starter.begun.popleft()
                self.starter.begin_more()
                yield told
        finally:
            self.starter.close()
        yield {"case": "left behind", "segments": sorted(shared_memory_names() - self.segments), "processes": running()}

    def around(self, number: int) -> AbstractContextManager[None]:
        return failures.held(self.python) if number == CARD_HELD else nullcontext()

    def loaders(self) -> Iterator[Any]:
        """In turn, three times each; the first pair reads what was just written, so all are warm."""
        assert self.loading is not None
        yield self.loading.go()


class Starter:
    """Plans all cases while nothing has the card, and has the next few launches wait before their gates."""

    def __init__(self, session: Session) -> None:
        self.session = session
        work, python = session.work, session.python
        self.files = {number: configured(NUMBERED[number], work, python, number) for number in session.order}
        with ThreadPoolExecutor(8) as pool:
            told = pool.map(lambda number: planned(NUMBERED[number], self.files[number][0]), self.files)
            self.plans = dict(zip(self.files, told, strict=True))
        self.todo, self.begun = deque(session.order), deque[Started]()
        self.begin_more()

    def begin_more(self) -> None:
        while self.todo and len(self.begun) < AHEAD and not self.is_taken(self.todo[0]):
            number = self.todo.popleft()
            case = NUMBERED[number]
            environment = failures.without_compiler(self.session.work) if number == NO_COMPILER else None
            files, told = self.files[number], self.plans[number]
            during: Any = failures.kill_part(case.kills) if case.kills else None
            if number >= FIRST_CHOICE:
                checkpoint = self.session.work / f"checkpoint{number - number % 10 + (case.like or 0)}"
                during = Speed(files[0], self.session.python, checkpoint, operators=number == OPERATORS)
            self.begun.append(begin(case, number, files, told, self.session.logs, environment, during))

    def is_taken(self, number: int) -> bool:
        """Its state directory is that of a launch that has not ended."""
        return self.files[number][1] in {one.state for one in self.begun}

    def close(self) -> None:
        for one in self.begun:
            one.close()


class Loading:
    """The comparison of loaders: makes its checkpoint and imports as soon as it is there, reads when told to."""

    def __init__(self, python: Path, work: Path) -> None:
        self.checkpoint = work / "filled"
        self.size: int | None = None
        self.maker = threading.Thread(target=self.make)
        self.maker.start()
        self.process = subprocess.Popen(
            [str(python), "-m", "bench.gpu.loading", str(self.checkpoint), "--wait"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, **ENVIRONMENT},
        )  # fmt: skip

    def make(self) -> None:
        if not self.checkpoint.exists():
            self.size = filled(shape_with(INT8, **layers(4), vocab_size=32768), self.checkpoint)

    def go(self) -> dict[str, Any]:
        self.maker.join()
        out, _ = self.process.communicate("go\n", timeout=200)
        loads = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
        status = self.process.returncode
        said = [line for line in out.splitlines() if not line.startswith("{")]
        return {"case": "loaders", "bytes": self.size, "status": status, "loads": loads, "err": said[-80:]}


def running() -> list[str]:
    """Command lines of engines' and supervisors' processes that are there."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_text().replace("\0", " ").strip()
        except OSError:
            continue
        if line.startswith("VLLM::") or "rigappliance launch" in line or "enginestart" in line:
            lines.append(line)
    return sorted(lines)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("stages", nargs="+", choices=STAGES)
    arguments.add_argument("--python", type=Path, required=True, help="the engine's interpreter")
    arguments.add_argument("--work", type=Path, required=True)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--only", type=int, action="append", help="number of a case, in order; default: all")
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
                say(stage, each, session.left_s())
        except Exception:
            # What was seen so far is kept: the machine may be gone afterwards.
            found.append({"error": traceback.format_exc()})
            session.keep(stage, found)
            print(found[-1]["error"], flush=True)
    return 0


def say(stage: str, told: dict[str, Any], left_s: float) -> None:
    state, plan, why = (told.get(key) or {} for key in ("state", "plan", "why"))
    words = {
        "ready": told.get("ready_s"), "of": told.get("seconds"), "verdict": plan.get("verdict"),
        "planned": plan.get("kv_tokens"), "tokens": state.get("kv_tokens"), "exit": told.get("exit_status"),
        "cause": why.get("cause"), "expected": told.get("expected_cause"), "status": told.get("status"),
        "asked": (told.get("ask") or {}).get("status"), "left": told.get("segments"),
    }  # fmt: skip
    shown = " ".join(f"{key}={value}" for key, value in words.items() if value is not None)
    print(f"{stage} {told.get('case', '')}: {shown} ({left_s:.0f} s left)", flush=True)


if __name__ == "__main__":
    sys.exit(main())

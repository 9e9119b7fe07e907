"""The ranks as the bench sees them: started once, told what to load, measured from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).parent / "ranks.py"


@dataclass(frozen=True)
class Loaded:
    """One load by all ranks. ``seconds`` runs from the first start to the last end."""

    seconds: float
    skew_s: float
    cpu_s: float
    errors: tuple[str, ...]
    digests: tuple[dict[str, int], ...]


@dataclass(frozen=True)
class Team:
    process: subprocess.Popen[bytes]
    built_bytes: tuple[int, ...]

    def load(
        self,
        directory: Path,
        options: dict[str, Any] | None,
        *,
        doors: list[str],
        home: list[str],
        outside: bool,
        stagger_s: float = 0.0,
        before: Callable[[], None],
        after: Callable[[], None],
    ) -> Loaded:
        """Rank n starts n times ``stagger_s`` after the first.

        ``before`` runs when all ranks are ready to start, ``after`` while they are still where they loaded.
        """
        self._tell({
            "do": "load", "directory": str(directory), "options": options, "doors": doors, "home": home,
            "outside": outside, "stagger_s": stagger_s,
        })  # fmt: skip
        self._told("ready")
        before()
        self._tell({})
        self._told("ended")
        after()
        self._tell({})
        answers = self._told("answers")
        ends = [answer["ended_s"] for answer in answers]
        return Loaded(
            max(ends) - min(answer["started_s"] for answer in answers),
            max(ends) - min(ends),
            sum(answer["cpu_s"] for answer in answers),
            tuple(f"rank {answer['rank']}: {answer['error']}" for answer in answers if answer["error"]),
            tuple(answer["digests"] for answer in answers),
        )

    def write_own_files(self, directory: Path) -> None:
        self._tell({"do": "write", "directory": str(directory)})
        self._told("answers")

    def _tell(self, order: dict[str, Any]) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        self.process.stdin.flush()

    def _told(self, what: str) -> Any:
        return told(self.process, what)


def told(process: subprocess.Popen[bytes], what: str) -> Any:
    assert process.stdout
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"the ranks ended with status {process.wait()}; their log says why")
    return json.loads(line)[what]


@contextmanager
def team(python: Path, checkpoint: Path, ranks: int, log: Path) -> Iterator[Team]:
    with log.open("ab") as out:
        process = subprocess.Popen(
            [str(python), str(SCRIPT), str(checkpoint), str(ranks)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=out, start_new_session=True,
        )  # fmt: skip
    try:
        yield Team(process, tuple(told(process, "built")))
    finally:
        assert process.stdin
        process.stdin.close()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        # The ranks hold each other's pipes and would wait for ever for a parent that was killed.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

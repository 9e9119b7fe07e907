"""Running a test's script against a guest, and what came of it."""

from __future__ import annotations

import io
import json
import os
import sys
import time
import traceback
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from rigappliance.errors import RigError
from rigappliance.vmtest.cases import Case
from rigappliance.vmtest.machine import Machine
from rigappliance.vmtest.nixosunits import nixos_units
from rigappliance.vmtest.prepare import prepared

FAULT = "FAULT "
FAULTS_VARIABLE = "RIGAPPLIANCE_TEST_FAULT_TABLE"
BACKENDS = {"renderer": "guest", "nixos": "guest, units of NixOS"}


@dataclass(frozen=True)
class Result:
    """What came of one script. ``error`` is empty where it passed; ``logs`` is ``None`` where none are kept."""

    name: str
    units: str
    error: str
    prepare_s: float
    run_s: float
    logs: Path | None
    faults: tuple[dict[str, Any], ...]

    @property
    def passed(self) -> bool:
        return not self.error

    def as_dict(self) -> dict[str, object]:
        """The same for ``--json``."""
        return {
            "name": self.name,
            "units": self.units,
            "passed": self.passed,
            "error": self.error,
            "prepare_s": round(self.prepare_s, 2),
            "run_s": round(self.run_s, 2),
            "logs": None if self.logs is None else str(self.logs),
            "faults": list(self.faults),
        }


class Told(io.TextIOBase):
    """Standard output of a script: on to ``stream`` and into the transcript, line by line.

    Rows of faults go into the table as they come, since a run may be cut short.
    """

    def __init__(self, machine: Machine, units: str, stream: TextIO) -> None:
        self._machine = machine
        self._units = units
        self._stream = stream
        self._rest = ""
        self.faults: list[dict[str, Any]] = []

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._machine.log(line)
            self._stream.write(f"  {line}\n")
            self._stream.flush()
            if line.startswith(FAULT):
                row = {**json.loads(line.removeprefix(FAULT)), "backend": BACKENDS[self._units]}
                self.faults.append(row)
                collect(row)
        return len(text)


def run_case(case: Case, units: str = "renderer", *, keep: bool = False) -> Result:
    """Run a test on a machine of its own; what its script prints goes to standard error as it comes.

    What fails is in the result; what cannot be prepared raises ``RigError``.
    """
    began = time.monotonic()
    origin = prepared(case, nixos_units(case.name) if units == "nixos" else None)
    ready = time.monotonic()
    error = ""
    machine = Machine(origin, name=case.name)
    told = Told(machine, units, sys.stderr)
    try:
        with redirect_stdout(told):
            execute(case, machine)
    except Exception as failure:  # whatever the script met is its result
        error = explained(case, failure)
    finally:
        kept = bool(error) or keep
        logs = machine.logs() if kept else None
        machine.release(keep_logs=kept)
    return Result(case.name, units, error, ready - began, time.monotonic() - ready, logs, tuple(told.faults))


def execute(case: Case, machine: Machine) -> None:
    """The prelude and the script in one name space, each compiled under its own name."""
    names: dict[str, object] = {"machine": machine, "__name__": "__main__"}
    for path in (case.prelude, case.script):
        # Our own files, from the tree.
        exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), names)  # noqa: S102


def explained(case: Case, failure: Exception) -> str:
    """Where in the script it failed, and on what."""
    own = (str(case.script), str(case.prelude))
    frames = [frame for frame in traceback.extract_tb(failure.__traceback__) if frame.filename in own]
    places = [f"{Path(frame.filename).name}:{frame.lineno}: {frame.line}" for frame in frames]
    said = failure.message if isinstance(failure, RigError) else str(failure)
    what = said if isinstance(failure, RigError) else f"{type(failure).__name__}{f': {said}' if said else ''}"
    return "\n".join([*places, what])


def collect(row: dict[str, Any]) -> None:
    """Add a row to the table that the environment names, if it names one."""
    table = os.environ.get(FAULTS_VARIABLE)
    if table:
        with Path(table).open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(row, ensure_ascii=False)}\n")

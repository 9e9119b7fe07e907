"""Rows of the table of faults: what was done to the engine, and what the product made of it."""

from __future__ import annotations

import json
import os
from pathlib import Path

VARIABLE = "RIGAPPLIANCE_FAULT_TABLE"


def record(
    fault: str,
    *,
    cause: str,
    evidence: str,
    decision: str,
    seconds: float | None,
    exit_code: int | None = None,
    lost: str = "nothing",
    leftovers: int = 0,
    backend: str = "real engine",
) -> None:
    """Append one row, as a JSON object, to the file that ``RIGAPPLIANCE_FAULT_TABLE`` names; without it, do nothing.

    ``cause``, ``evidence`` and ``decision`` are what the failure record says, ``seconds``
    go from the fault to the cause's name, ``leftovers`` counts what was left behind
    once it was over. Raises ``OSError`` where the file cannot be written.
    """
    path = os.environ.get(VARIABLE)
    if not path:
        return
    row = {
        "fault": fault,
        "cause": cause,
        "evidence": evidence,
        "decision": decision,
        "seconds": None if seconds is None else round(seconds, 2),
        "exit_code": exit_code,
        "lost": lost,
        "leftovers": leftovers,
        "backend": backend,
    }
    with Path(path).open("a", encoding="utf-8") as table:
        table.write(json.dumps(row, ensure_ascii=False) + "\n")

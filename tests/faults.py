"""Rows of the table of faults: what was done to the engine, and what the product made of it."""

from __future__ import annotations

import json
import os
from pathlib import Path

VARIABLE = "RIGAPPLIANCE_TEST_FAULT_TABLE"


def record(
    fault: str,
    *,
    cause: str,
    evidence: str,
    decision: str,
    seconds: float | None,
    lost: str = "",
    leftovers: str = "",
    backend: str = "real engine",
) -> None:
    """Append one row, a JSON object, to the file that ``RIGAPPLIANCE_TEST_FAULT_TABLE`` names; without it, do nothing.

    ``cause`` and ``evidence`` are what the failure record says, ``decision`` what followed
    from it, ``seconds`` go from the fault to the cause's name; ``lost`` and ``leftovers``
    are empty where nothing was. Raises ``OSError`` where the file cannot be written.
    """
    path = os.environ.get(VARIABLE)
    if not path:
        return
    row = {
        "fault": fault,
        "backend": backend,
        "cause": cause,
        "evidence": evidence,
        "decision": decision,
        "seconds": None if seconds is None else round(seconds, 2),
        "lost": lost,
        "leftovers": leftovers,
    }
    with Path(path).open("a", encoding="utf-8") as table:
        table.write(json.dumps(row, ensure_ascii=False) + "\n")

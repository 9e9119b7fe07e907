"""A start that was refused before there was an engine, for `why` to tell of."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import Any

from rigappliance.errors import ExitCode, RigError
from rigappliance.launch.state import StateDirectory

# Stopping is no refusal, and a known failure is recorded as what it is.
NOT_TOLD = (ExitCode.INTERRUPTED,)


def record_refusal(directory: StateDirectory, error: RigError) -> None:
    """``error`` in the state directory, where it takes it."""
    if error.exit_code not in NOT_TOLD:
        directory.replace(directory.refusal_file, json.dumps({"at": time.time(), **error.as_dict()}))


def forget_refusal(directory: StateDirectory) -> None:
    with suppress(OSError):
        directory.refusal_file.unlink(missing_ok=True)


def last_refusal(directory: StateDirectory) -> dict[str, Any] | None:
    """The last start's, if that was refused: ``at`` (seconds since the epoch), ``error``, ``remedy``, ``exit_code``."""
    try:
        content = json.loads(directory.refusal_file.read_text(encoding="utf-8"))
        return {**content, "at": float(content["at"]), "error": str(content["error"])}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None

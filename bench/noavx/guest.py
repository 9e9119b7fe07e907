"""Tries one distribution, inside the emulator: loads its libraries, imports its modules, runs its operation.

    python -P guest.py NAME FILE   # FILE: JSON of its libraries and modules

Each step is a line of JSON.  A library is loaded in a process of its own, so that one that dies is known and the
others are still tried; imports and the operation are done in this process, which ends with the first that dies.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
NOT_LOADED = 3


def said(step: str, error: str = "", died: bool = False) -> None:
    print(json.dumps({"step": step, "error": error, "died": died}), flush=True)


def load(path: str) -> None:
    """Opening a library runs its constructors and the choice of its kernels."""
    with tempfile.TemporaryFile() as words:
        child = os.fork()
        if child == 0:
            os.dup2(words.fileno(), 2)
            try:
                ctypes.CDLL(path, os.RTLD_LAZY)
            except OSError as error:
                os.write(2, str(error).encode())
                os._exit(NOT_LOADED)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        words.seek(0)
        text = words.read().decode(errors="replace")
    code = os.waitstatus_to_exitcode(status)
    name = "/".join(Path(path).parts[-2:])
    said(f"load {name}", text or f"exit code {code}" if code else "", died=code not in (0, NOT_LOADED))


def attempt(step: str, call: Callable[[], object]) -> None:
    """Says how ``call`` went; what it raises is a result."""
    try:
        call()
    except BaseException as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        said(step, f"{type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})")
    else:
        said(step)


def main() -> None:
    name = sys.argv[1]
    asked = json.loads(Path(sys.argv[2]).read_text())
    for path in asked["libraries"]:
        load(path)
    for module in asked["modules"]:
        said(f"begin import {module}")
        attempt(f"import {module}", lambda module=module: importlib.import_module(module))  # type: ignore[misc]
    # Last, so that nothing of this tree hides what is tried.
    sys.path.append(str(ROOT))
    operations = importlib.import_module("bench.noavx.operations").OPERATIONS
    if name in operations:
        said("begin operation")
        attempt("operation", operations[name])
    # Threads of a server library may keep the interpreter from its end.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()

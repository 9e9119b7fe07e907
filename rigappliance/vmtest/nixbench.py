"""Evaluation of the tree's Nix expressions without Nix's public caches, in an evaluation bench beside the tree."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from rigappliance.vmtest.control import TREE

PLACE_VARIABLE = "RIGAPPLIANCE_NIX_BENCH"
PLACE = Path(os.environ.get(PLACE_VARIABLE, TREE.parent / "shared" / "nix"))
# As the bench's own scripts find them.
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
TREES = Path(os.environ.get("RIG_NIX_BENCH") or CACHE / "rig-nix-bench")
NAMES = TREE / "tests" / "nix" / "evaluate.nix"

# Nothing is built and nothing is fetched, whatever an expression asks for.
SETTINGS = "build-users-group =\nallow-import-from-derivation = false\nmax-jobs = 0\nsubstitute = false\n"
TIMEOUT_S = 300


class NixError(Exception):
    """What Nix said about an expression that does not evaluate."""


def missing() -> str | None:
    """Why nothing can be evaluated here, or ``None``."""
    if shutil.which("nix-instantiate") is None:
        return "nix-instantiate is not installed (Debian: nix-bin)"
    if not (PLACE / "nixos.nix").is_file():
        return f"there is no evaluation bench in {PLACE} (set {PLACE_VARIABLE})"
    if not (TREES / "nixos").is_dir():
        return f"the bench's trees are not in {TREES} (run its `prepare`)"
    return None


def evaluate(expression: str) -> Any:
    """The value of an expression over the names of ``tests/nix/evaluate.nix``. Raises ``NixError``."""
    with_names = f"with import {NAMES} {{ bench = {TREES}; tools = {PLACE}; }}; "
    done = subprocess.run(
        ["nix-instantiate", "--eval", "--strict", "--json", "--read-write-mode", "--expr", with_names + expression],
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
        env={**os.environ, "NIX_CONFIG": SETTINGS},
    )
    if done.returncode:
        raise NixError(done.stderr)
    return json.loads(done.stdout)

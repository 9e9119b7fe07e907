"""The two Poetry locks: made, checked and verified by ``tools/lock``.

A lock here speaks of one target alone (``target.py``), with one wheel a package,
so that Nix and pip install the same bytes and nothing is ever compiled.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

# Directories that hold a pyproject.toml and its poetry.lock.
PROJECTS = {"control": ROOT, "engine": ROOT / "engine"}

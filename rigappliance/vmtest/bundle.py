"""What a VM test's machine needs in files, in one directory that both backends carry into it.

======================  =====================================================================
``engine/``             the stand-in for the engine, as an environment beside which vLLM's
                        metadata lie; it belongs at ``ENGINE``
``checkpoint/``         a tiny real checkpoint
``files/``              text files by their path in the machine
``volumes``             a line a file system: path, size in bytes, type, owner
======================  =====================================================================

``nixos/tests/lib/setup.sh`` puts them in their places, on both backends.
"""

from __future__ import annotations

from pathlib import Path

from rigappliance.demo.checkpoint import TinyQwen2, write_checkpoint
from rigappliance.vmtest.cases import Case
from rigappliance.vmtest.control import TREE

RECORDINGS = TREE / "tests" / "recordings"
# Where the stand-in is in a machine, whatever its PATH.
ENGINE = "/opt/rigappliance/engine"
# Real shapes of heads, and no more bytes than needed.
SHAPE = TinyQwen2(intermediate_size=256, layers=2)


def write_bundle(case: Case, directory: Path, python: str, recordings: Path = RECORDINGS) -> None:
    """Write a test's bundle. ``python`` is what runs the stand-in in the machine."""
    needs = case.needs
    directory.mkdir(parents=True, exist_ok=True)
    if needs.engine == "standin":
        from rigappliance.vmtest.standin.layout import lay_out

        lay_out(directory / "engine", python, recordings, at=ENGINE)
        if needs.checkpoint:
            write_checkpoint(directory / "checkpoint", SHAPE)
    for path, text in needs.files.items():
        target = directory / "files" / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    volumes = [f"{volume.path} {volume.size} {volume.type} {volume.owner}\n" for volume in needs.volumes]
    (directory / "volumes").write_text("".join(volumes), encoding="utf-8")

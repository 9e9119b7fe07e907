"""What native code each installed distribution has; printed as JSON by the interpreter whose packages are asked for.

Only the standard library is used: it runs in the engine's environment.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import sys
from pathlib import Path

ELF = b"\x7fELF"
X86_64 = 62
PROGRAM, SHARED = 2, 3
INTERPRETER_SEGMENT = 3
OWN_TEST = re.compile(r"/test/|/test_[^/]*$|[_T]est$")


def kind_of(path: Path) -> str | None:
    """``library`` or ``program``; ``None`` for what is no native code of this processor, object files among it."""
    try:
        with path.open("rb") as file:
            header = file.read(64)
            if len(header) < 64 or header[:4] != ELF or int.from_bytes(header[18:20], "little") != X86_64:
                return None
            file.seek(int.from_bytes(header[32:40], "little"))
            entry_bytes, count = (int.from_bytes(header[at : at + 2], "little") for at in (54, 56))
            segments = [int.from_bytes(file.read(entry_bytes)[:4], "little") for _ in range(count)]
    except OSError:
        return None
    if int.from_bytes(header[16:18], "little") not in (PROGRAM, SHARED):
        return None
    started = int.from_bytes(header[16:18], "little") == PROGRAM or INTERPRETER_SEGMENT in segments
    # Some libraries can be started too; a name with .so is loaded.
    return "program" if started and ".so" not in path.name else "library"


def modules_of(distribution: importlib.metadata.Distribution) -> list[str]:
    """The modules to import: packages and files that lie at the top and are not private."""
    names = set()
    for file in distribution.files or []:
        top = file.parts[0]
        if len(file.parts) > 1 and file.name == "__init__.py" and len(file.parts) == 2:
            names.add(top)
        elif len(file.parts) == 1 and file.suffix in (".py", ".so"):
            names.add(top.split(".")[0])
    return sorted(name for name in names if re.fullmatch(r"[A-Za-z]\w*", name))


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> None:
    found = []
    for distribution in importlib.metadata.distributions():
        files = {Path(str(distribution.locate_file(file))).resolve() for file in distribution.files or []}
        kinds = {str(path): kind for path in sorted(files) if path.suffix != ".py" and (kind := kind_of(path))}
        # Tests of its own that a distribution brings along are started by nobody.
        kinds = {path: kind for path, kind in kinds.items() if kind == "library" or not OWN_TEST.search(path)}
        found.append(
            {
                "name": normalised(distribution.metadata["Name"]),
                "version": distribution.version,
                "modules": modules_of(distribution),
                "libraries": [path for path, kind in kinds.items() if kind == "library"],
                "programs": [path for path, kind in kinds.items() if kind == "program"],
            }
        )
    json.dump({"python": sys.version.split()[0], "prefix": sys.prefix, "distributions": found}, sys.stdout)


if __name__ == "__main__":
    main()

"""A stand-in for libcuda.so.1, which belongs to the driver and not to the closure: every function finds no card.

Without it the libraries that are linked against the driver cannot be opened on a machine without one.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

NAME = "libcuda.so.1"
NO_DEVICE = 100
# Names of other libraries' functions begin in the same way.
OTHERS = re.compile(r"cu(blas|da|dnn|fft|solver|sparse|rand|pti|File|tensor)")


def asked_for(libraries: Iterable[str]) -> list[str]:
    """The driver's functions that the libraries linked against it want."""
    wanted: set[str] = set()
    for library in libraries:
        if NAME.encode() not in Path(library).read_bytes():
            continue
        command = ["nm", "--dynamic", "--undefined-only", "--format=just-symbols", library]
        symbols = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
        wanted.update(one for one in symbols if re.fullmatch(r"cu[A-Z]\w*", one) and not OTHERS.match(one))
    return sorted(wanted)


def build(libraries: Iterable[str], directory: Path) -> bool:
    """Make the stand-in in ``directory``; ``False`` where no library asks for the driver."""
    functions = asked_for(libraries)
    if not functions:
        return False
    source = directory / "libcuda.c"
    source.write_text("".join(f"int {name}(void) {{ return {NO_DEVICE}; }}\n" for name in functions))
    options = ["-shared", "-fPIC", f"-Wl,-soname,{NAME}", "-o", str(directory / NAME)]
    subprocess.run(["cc", *options, str(source)], check=True)
    return True

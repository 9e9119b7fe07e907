"""A library that no processor can run."""

from __future__ import annotations

import subprocess
from pathlib import Path

# ud2 is the instruction that all of them lack. The preloaded library comes into every process of the engine,
# and into the compilers that these start, so it looks at the command line first.
SOURCE = """
#include <stdio.h>
#include <string.h>

__attribute__((constructor)) static void execute(void)
{
    char line[4096];
    FILE *file = fopen("/proc/self/cmdline", "r");
    size_t length = file ? fread(line, 1, sizeof line - 1, file) : 0;

    if (file)
        fclose(file);
    for (size_t i = 0; i < length; i++)
        if (!line[i])
            line[i] = ' ';
    line[length] = 0;
    if (strstr(line, WITHIN))
        __asm__("ud2");
}
"""


def executes_ud2(library: Path, within: str) -> Path:
    """Build it there; processes whose command line holds ``within`` die of it, with LD_PRELOAD set."""
    source = library.with_suffix(".c")
    source.write_text(f'#define WITHIN "{within}"\n{SOURCE}')
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    return library

"""Runs as ``python -m rigappliance.vmtest.standin``, and as a directory of its own, which costs fewer imports."""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:
    here = Path(__file__).resolve().parent
    sys.path[0] = str(here.parent)
    __package__ = here.name

from .run import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The locked closure of the rig's engine, printed as requirements with hashes for pip."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

LOCK = Path(__file__).resolve().parent.parent.parent / "engine" / "poetry.lock"


def packages() -> list[dict[str, Any]]:
    """The lock's packages, each with ``name``, ``version`` and ``files``."""
    found: list[dict[str, Any]] = tomllib.loads(LOCK.read_text())["package"]
    return found


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def elsewhere(installed: dict[str, str]) -> list[dict[str, object]]:
    """The locked packages that ``installed`` (version by name) lacks or has in another version."""
    return [
        {
            "name": normalised(package["name"]),
            "version": package["version"],
            "installed": installed.get(normalised(package["name"])),
            "native": not all(one["file"].endswith("-any.whl") for one in package["files"]),
        }
        for package in packages()
        # A local part (2.13.0+cpu) is another build.
        if installed.get(normalised(package["name"])) != package["version"]
    ]


def main() -> int:
    for package in packages():
        hashes = " ".join(f"--hash={one['hash']}" for one in package["files"])
        print(f"{package['name']}=={package['version']} {hashes}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The VM tests of a tree: a script each, with its machine's settings and needs beside it.

``nixos/tests/NAME.py`` is the script, ``NAME.json`` the settings of its machine,
``NAME.toml`` what that has beyond them, where it has.  ``lib/prelude.py`` goes
before each script on both backends.
"""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rigappliance.errors import UsageError
from rigappliance.vmtest.control import TREE
from rigappliance.vmtest.needs import Needs, read_needs

TESTS = TREE / "nixos" / "tests"
PRELUDE = Path("lib") / "prelude.py"


@dataclass(frozen=True)
class Case:
    """One test; ``directory`` holds its files."""

    name: str
    directory: Path

    @property
    def script(self) -> Path:
        return self.directory / f"{self.name}.py"

    @property
    def prelude(self) -> Path:
        return self.directory / PRELUDE

    @property
    def settings_file(self) -> Path:
        return self.directory / f"{self.name}.json"

    @property
    def settings(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.settings_file.read_text(encoding="utf-8"))
        return found

    @property
    def model_path(self) -> str:
        """Directory of the checkpoint in the machine, which both backends have to agree about."""
        path: str = self.settings["model"]["path"]
        return path

    @property
    def needs(self) -> Needs:
        return read_needs(self.directory / f"{self.name}.toml")

    @property
    def summary(self) -> str:
        """The script's first line, which is a comment that says what it shows."""
        return self.script.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")


def cases(directory: Path = TESTS) -> list[Case]:
    """All tests by name. Raises ``UsageError`` where there are none."""
    found = [Case(path.stem, directory) for path in sorted(directory.glob("*.py"))]
    if not found:
        raise UsageError(
            f"there are no tests in {directory}", "scripts of VM tests", "run this from a checkout, or name --tests"
        )
    return found


def chosen(names: tuple[str, ...], directory: Path = TESTS) -> list[Case]:
    """The tests of these names, in their order, or all. Raises ``UsageError`` for a name that is none."""
    known = {case.name: case for case in cases(directory)}
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            raise UsageError(
                f"there is no test {name!r}",
                f"one of {', '.join(known)}",
                f"did you mean {near[0]!r}?" if near else "see `rigappliance-vmtest list`",
            )
    return [known[name] for name in dict.fromkeys(names)] if names else list(known.values())

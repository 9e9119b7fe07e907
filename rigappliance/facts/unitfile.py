"""The service's unit as its files say it, drop-ins applied, without asking systemd."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from rigappliance.facts.host import read_text

UNIT = "rigappliance.service"
# The first that has the unit wins; drop-ins of all count. `systemctl set-property` writes to the last two.
DIRECTORIES = (
    "etc/systemd/system",
    "run/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
)
DROP_IN_DIRECTORIES = (*reversed(DIRECTORIES), "run/systemd/system.control", "etc/systemd/system.control")


def unit_settings(root: Path = Path("/")) -> list[tuple[str, str]] | None:
    """Names and values in the order in which systemd takes them; ``None`` where there is no unit. Raises nothing."""
    place = next((root / where / UNIT for where in DIRECTORIES if (root / where / UNIT).is_file()), None)
    if place is None:
        return None
    by_name: dict[str, Path] = {}
    for where in DROP_IN_DIRECTORIES:
        # Of two drop-ins of one name the one in the more important directory hides the other.
        by_name |= {file.name: file for file in sorted((root / where / f"{UNIT}.d").glob("*.conf"))}
    files = (place, *(by_name[name] for name in sorted(by_name)))
    return [pair for file in files for pair in settings_in(read_text(file) or "")]


def settings_in(text: str) -> list[tuple[str, str]]:
    return re.findall(r"^[ \t]*(\w+)[ \t]*=[ \t]*(.*?)[ \t]*$", text, re.MULTILINE)


def unit_environment(root: Path = Path("/")) -> dict[str, str]:
    """The variables of ``Environment=``; those with a specifier of systemd's are left out."""
    found: dict[str, str] = {}
    for name, value in unit_settings(root) or []:
        if name != "Environment":
            continue
        if not value:
            found = {}
            continue
        try:
            words = shlex.split(value)
        except ValueError:
            continue
        for word in words:
            variable, assigned, content = word.partition("=")
            if assigned and "%" not in content.replace("%%", ""):
                found[variable] = content.replace("%%", "%")
    return found

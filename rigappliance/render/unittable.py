"""The tables of unit properties in ``units/``: one source for the renderer here and for the NixOS modules.

A table lists entries by section: ``key``, ``value`` (a list for a key that is given
several times), and as needed ``why`` and ``since``, the first systemd that knows the
key.  ``@name@`` stands for a variable.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

PLACEHOLDER = re.compile(r"@([a-z_]+)@")
SECTIONS = ("Unit", "Service", "Install")

# ``None``: the entry that uses the variable is left out.
Variables = Mapping[str, str | None]


@dataclass(frozen=True)
class Setting:
    """One line of a unit, in systemd's own syntax, and why it is there."""

    section: str
    key: str
    value: str
    why: str = ""


def unit_settings(table: str, variables: Variables, systemd: int | None = None) -> tuple[Setting, ...]:
    """The settings of ``units/TABLE.toml`` with its placeholders filled in from ``variables``.

    ``systemd`` is the version that will read them; keys that are newer are left
    out.  ``None`` keeps all.  Raises ``KeyError`` for a variable that is not there.
    """
    tree = tomllib.loads(files(__package__).joinpath(f"units/{table}.toml").read_text(encoding="utf-8"))
    settings = []
    for section in SECTIONS:
        for entry in tree.get(section, []):
            if systemd is not None and entry.get("since", 0) > systemd:
                continue
            values = entry["value"] if isinstance(entry["value"], list) else [entry["value"]]
            why = entry.get("why", "")
            for value in values:
                filled = fill(value, variables)
                if filled is not None:
                    settings.append(Setting(section, entry["key"], filled, why))
                    # Once, above the first of its lines.
                    why = ""
    return tuple(settings)


def fill(value: str, variables: Variables) -> str | None:
    """``value`` with its placeholders filled in, or ``None`` where one of them has no value."""
    found = {name: variables[name] for name in PLACEHOLDER.findall(value)}
    if None in found.values():
        return None
    return PLACEHOLDER.sub(lambda match: found[match.group(1)] or "", value)

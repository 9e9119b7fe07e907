"""Numbers that were measured and cannot be derived, each with its unit, source and date.

They stand in ``data/coefficients.toml`` and nowhere else.  A rig's own measurements, which ``rigappliance calibrate``
takes from a real start, lie in a file of the same form in its state directory and go before them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rigappliance.errors import ConfigError

DATA = Path(__file__).parent / "data" / "coefficients.toml"
KEYS = {"value", "unit", "source", "date"}


@dataclass(frozen=True)
class Coefficient:
    """``name`` is dotted (``vram.cuda_context``); ``unit`` is that of ``value``: ``bytes``, ``bytes/s``, ``s``."""

    name: str
    value: float
    unit: str
    source: str
    date: str


class Coefficients(Mapping[str, Coefficient]):
    """All of them by name."""

    def __init__(self, content: Mapping[str, Coefficient]) -> None:
        self._content = dict(content)

    def __getitem__(self, name: str) -> Coefficient:
        return self._content[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._content)

    def __len__(self) -> int:
        return len(self._content)

    def number(self, name: str) -> float:
        """The value of one; raises ``KeyError`` for a name that the data file lacks, which is a defect."""
        return self._content[name].value

    def size_bytes(self, name: str) -> int:
        return round(self.number(name))

    def before(self, others: Coefficients) -> Coefficients:
        """These, and of ``others`` those that are not among them."""
        return Coefficients({**others._content, **self._content})


@cache
def shipped() -> Coefficients:
    """Those of this version of the package."""
    return read_coefficients(DATA)


def read_coefficients(path: Path) -> Coefficients:
    """Raises ``ConfigError`` for a file that cannot be read or is not of this form."""
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
        return Coefficients(dict(named(tree, "")))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path} cannot be used: {error}",
            "tables of value, unit, source and date",
            "remove the file, or write it anew with `rigappliance calibrate`",
        ) from error


def named(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Coefficient]]:
    """Every table that holds a value, by its dotted name; raises ``ValueError`` for one that is not whole."""
    for key, below in tree.items():
        name = f"{prefix}{key}"
        if not isinstance(below, dict):
            raise ValueError(f"{name} is not a table")
        if "value" not in below:
            yield from named(below, f"{name}.")
            continue
        value = below["value"]
        if set(below) != KEYS or isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{name} needs exactly {', '.join(sorted(KEYS))}, its value a number")
        yield name, Coefficient(name, value, str(below["unit"]), str(below["source"]), str(below["date"]))

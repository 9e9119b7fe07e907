"""Signatures arranged so that most lines are done with after a few fragments."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from rigappliance.diagnosis.signature import Signature

# Fragments that most signatures contain. A signature with none of them is asked of every line.
# Chosen so that few ordinary lines have many of them.
_GATES = (
    "ed ",
    "rro",
    "ot ",
    "le ",
    "ion",
    "ect",
    "led",
    " in",
    "CUD",
    "ize",
    " on",
    "out",
    "all",
    "CUB",
    "SIG",
    "num",
)

Entry = tuple[int, str, Signature]


@dataclass(frozen=True)
class Table:
    """Signatures with their place in the order, by the fragment that leads to them."""

    gated: tuple[tuple[str, tuple[Entry, ...]], ...]
    ungated: tuple[Entry, ...]
    patterns: tuple[re.Pattern[str] | None, ...]
    warnings: tuple[str, ...]


@lru_cache(maxsize=64)
def table_of(signatures: tuple[Signature, ...]) -> Table:
    groups: dict[str, list[Entry]] = {gate: [] for gate in _GATES}
    ungated: list[Entry] = []
    for place, signature in enumerate(signatures):
        gate = next((gate for gate in _GATES if gate in signature.text), None)
        (ungated if gate is None else groups[gate]).append((place, signature.text, signature))
    return Table(
        tuple((gate, tuple(group)) for gate, group in groups.items() if group),
        tuple(ungated),
        tuple(re.compile(signature.pattern) if signature.pattern else None for signature in signatures),
        tuple(signature.text for signature in signatures if signature.warning),
    )

"""What is known of common cards: memory, its bandwidth, compute, and the card's own PCIe link (``data/cards.toml``)."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data" / "cards.toml"
MIB = 1024**2
# Words that NVML's names and people's spellings have or lack at will.
IDLE_WORDS = frozenset(("nvidia", "geforce", "tesla", "rtx", "gtx"))


@dataclass(frozen=True)
class Card:
    """One model of card. Bandwidth in bytes/s of its memory; ``fp16_flops`` and ``int8_ops`` a second, dense.

    ``int8_ops`` is ``None`` without tensor cores.  ``pcie_generation`` and
    ``pcie_width`` are the card's own; a slot or riser may leave less of them.
    """

    name: str
    nvml_names: tuple[str, ...]
    memory_bytes: int
    memory_bandwidth: float
    fp16_flops: float
    int8_ops: float | None
    capability: tuple[int, int]
    multiprocessors: int
    pcie_generation: int
    pcie_width: int
    note: str
    source: str
    date: str


def card_named(name: str, memory_bytes: int | None = None) -> Card | None:
    """The card that NVML, or a person, calls so (``NVIDIA GeForce RTX 3060``, ``3060 12gb``), or ``None``.

    Cards of one name differ in memory: the nearest to ``memory_bytes`` is taken,
    and ``memory_bytes`` goes before the table's own, since the card itself knows
    better (ECC takes a part of it; modified cards have twice as much).
    """
    bare, said_bytes = without_memory(words(name))
    known_bytes = memory_bytes or said_bytes
    found = by_name().get("".join(words(name)), ()) or by_name().get("".join(bare), ())
    if not found:
        return None
    if known_bytes is None:
        return found[0]
    nearest = min(found, key=lambda card: abs(card.memory_bytes - known_bytes))
    return replace(nearest, memory_bytes=memory_bytes) if memory_bytes else nearest


def words(name: str) -> tuple[str, ...]:
    """The words that tell cards apart: ``rtx3060`` and ``NVIDIA GeForce RTX 3060`` both give ``("3060",)``."""
    apart = re.sub(r"\b(rtx|gtx)(?=[a\d])", r"\1 ", name.casefold())
    return tuple(word for word in re.split(r"[\s_-]+", apart) if word and word not in IDLE_WORDS)


def without_memory(name: tuple[str, ...]) -> tuple[tuple[str, ...], int | None]:
    """``("3060", "12gb")`` as ``("3060",)`` and twelve GiB, which is what makers call 12 GB."""
    match = re.fullmatch(r"(.*?)(\d+)\s*gi?b", " ".join(name))
    if match is None or not match[1].strip():
        return name, None
    return tuple(match[1].split()), int(match[2]) * 1024 * MIB


@cache
def cards() -> tuple[Card, ...]:
    """All of them, in the file's order."""
    tree = tomllib.loads(DATA.read_text(encoding="utf-8"))
    return tuple(read_card(entry) for entry in tree["card"])


@cache
def by_name() -> dict[str, tuple[Card, ...]]:
    found: dict[str, tuple[Card, ...]] = {}
    for card in cards():
        for name in {"".join(words(name)) for name in (card.name, *card.nvml_names)}:
            found[name] = (*found.get(name, ()), card)
    return found


def read_card(entry: dict[str, Any]) -> Card:
    major, _, minor = entry["capability"].partition(".")
    return Card(
        name=entry["name"],
        nvml_names=tuple(entry["names"]),
        memory_bytes=entry["memory_mib"] * MIB,
        memory_bandwidth=entry["bandwidth_gb_s"] * 1e9,
        fp16_flops=entry["fp16_tflops"] * 1e12,
        int8_ops=entry["int8_tops"] * 1e12 if "int8_tops" in entry else None,
        capability=(int(major), int(minor)),
        multiprocessors=entry["multiprocessors"],
        pcie_generation=entry["pcie_generation"],
        pcie_width=entry["pcie_width"],
        note=entry.get("note", ""),
        source=entry["source"],
        date=entry["date"],
    )

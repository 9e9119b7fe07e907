"""What a disk can be told to do wrong. Files are paths relative to the directory that is served."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class BadRange:
    """Every read that touches these bytes fails with EIO, after ``seconds`` of the drive's own attempts."""

    file: str
    offset_bytes: int
    size_bytes: int
    seconds: float = 0.0


@dataclass(frozen=True)
class SlowRange:
    """Every read that touches these bytes takes ``seconds`` longer."""

    file: str
    offset_bytes: int
    size_bytes: int
    seconds: float


@dataclass(frozen=True)
class Truncation:
    """The file is ``size_bytes`` long as soon as ``after_bytes`` of it have been served."""

    file: str
    size_bytes: int
    after_bytes: int


Fault = BadRange | SlowRange | Truncation
KINDS: dict[str, type[BadRange] | type[SlowRange] | type[Truncation]] = {
    kind.__name__: kind for kind in (BadRange, SlowRange, Truncation)
}


def as_json(fault: Fault) -> dict[str, Any]:
    return {"kind": type(fault).__name__, **asdict(fault)}


def from_json(told: dict[str, Any]) -> Fault:
    fields = dict(told)
    return KINDS[fields.pop("kind")](**fields)


def touches(fault: BadRange | SlowRange, at_bytes: int, size_bytes: int) -> bool:
    return at_bytes < fault.offset_bytes + fault.size_bytes and fault.offset_bytes < at_bytes + size_bytes

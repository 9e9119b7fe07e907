"""What a line of a log looks like when it speaks for a cause."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from rigappliance.diagnosis.result import Confidence


class Role(StrEnum):
    """How much a line says about the end of the engine."""

    ROOT = "root"  # says why
    HINT = "hint"  # says why, unless a root cause stands anywhere
    CONSEQUENCE = "consequence"  # says that something failed before
    NOTHING = "nothing"  # looks like a cause, and is none
    NOTE = "note"  # some exception, perhaps of one request alone


@dataclass(frozen=True)
class Signature:
    """``text`` is a plain substring that is looked for first; ``pattern`` is searched only where it stands.

    A line of the engine's own below the level ERROR does not count, whatever it says,
    unless it is a warning and ``warning`` is true: of what makes the engine fail later.
    ``source`` says who prints it: a module of vLLM, another library, a program, an issue.
    ``cause`` may be a family that the phase settles (``card-memory``), or empty for a consequence.
    """

    name: str
    cause: str
    text: str
    source: str
    pattern: str = ""
    role: Role = Role.ROOT
    confidence: Confidence = Confidence.LIKELY
    warning: bool = False


def harmless(name: str, text: str, source: str, pattern: str = "") -> Signature:
    return Signature(name, "", text, source, pattern, Role.NOTHING)


def consequence(name: str, text: str, source: str, pattern: str = "") -> Signature:
    return Signature(name, "", text, source, pattern, Role.CONSEQUENCE)


def hint(name: str, cause: str, text: str, source: str, pattern: str = "") -> Signature:
    return Signature(name, cause, text, source, pattern, Role.HINT, Confidence.POSSIBLE)

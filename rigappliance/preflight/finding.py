"""The result of one check."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

Severity = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """``check`` is a stable id such as ``port.free``; the other texts are clauses without a final full stop.

    ``warn`` lets a start go on, ``fail`` does not.  ``expected`` and ``remedy``
    are empty where there is nothing to do.
    """

    check: str
    severity: Severity
    found: str
    expected: str = ""
    remedy: str = ""

    def as_dict(self) -> dict[str, str]:
        """The same for ``--json``."""
        return asdict(self)


def ok(check: str, found: str) -> Finding:
    return Finding(check, "ok", found)


def warn(check: str, found: str, expected: str, remedy: str) -> Finding:
    return Finding(check, "warn", found, expected, remedy)


def fail(check: str, found: str, expected: str, remedy: str) -> Finding:
    return Finding(check, "fail", found, expected, remedy)

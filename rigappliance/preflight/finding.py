"""The result of one check."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["ok", "warn", "fail"]
# Programs with their arguments, to be run one after the other.
Commands = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Finding:
    """``check`` is a stable id such as ``port.free``; the other texts are clauses without a final full stop.

    ``warn`` lets a start go on, ``fail`` does not.  ``expected`` and ``remedy``
    are empty where there is nothing to do.  ``fix`` is what `check --fix` would
    run, where that is safe; its ``rigappliance`` stands for this program.
    """

    check: str
    severity: Severity
    found: str
    expected: str = ""
    remedy: str = ""
    fix: Commands = ()

    def as_dict(self) -> dict[str, Any]:
        """The same for ``--json``; ``fix`` only where there is one."""
        return {name: value for name, value in asdict(self).items() if value or name != "fix"}


def ok(check: str, found: str) -> Finding:
    return Finding(check, "ok", found)


def warn(check: str, found: str, expected: str, remedy: str, fix: Commands = ()) -> Finding:
    return Finding(check, "warn", found, expected, remedy, fix)


def fail(check: str, found: str, expected: str, remedy: str, fix: Commands = ()) -> Finding:
    return Finding(check, "fail", found, expected, remedy, fix)


def counted(number: int, what: str) -> str:
    """``1 fault``, ``2 faults``."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def set_parameter(name: str, value: int) -> tuple[str, ...]:
    """The command that sets a parameter of the kernel until the next boot."""
    return ("sysctl", "-w", f"{name}={value}")

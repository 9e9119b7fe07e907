"""Steps for people and for programs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from rigappliance.install.steps import Step

# Of no interest to people: every change is recorded.
SILENT_KINDS = frozenset({"record"})
WIDTH = 7


def shown(steps: Iterable[Step]) -> list[Step]:
    return [step for step in steps if step.kind not in SILENT_KINDS]


def line(step: Step) -> str:
    return f"{step.kind:<{WIDTH}} {step.subject}"


def teller(echo: Callable[[str], object]) -> Callable[[Step], None]:
    """What says each step before it is done."""

    def tell(step: Step) -> None:
        for one in shown([step]):
            echo(line(one))

    return tell


def lines(same: Iterable[Path], steps: Iterable[Step], *, details: bool) -> list[str]:
    """A line a file and step; with ``details`` also the differences."""
    result = [f"{'same':<{WIDTH}} {path}" for path in same]
    for step in shown(steps):
        result.append(line(step))
        if details:
            result += [f"        {text}" for text in step.detail().splitlines()]
    return result


def as_dicts(steps: Iterable[Step]) -> list[dict[str, str]]:
    return [
        {"kind": step.kind, "subject": step.subject, **({"difference": step.detail()} if step.detail() else {})}
        for step in shown(steps)
    ]

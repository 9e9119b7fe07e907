"""Mending what a finding offers to mend: said first, done only when told to."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rigappliance.errors import PreflightError
from rigappliance.preflight.finding import Finding

TAIL_CHARACTERS = 400


@dataclass(frozen=True)
class Fix:
    """One command, and the finding that it is for. ``ours``: a verb of this program, which tells its progress."""

    check: str
    argv: tuple[str, ...]
    ours: bool = False


@dataclass(frozen=True)
class Outcome:
    """``code`` is ``None`` where the program could not be started; ``said`` is the end of what it printed."""

    fix: Fix
    code: int | None
    said: str

    def as_dict(self) -> dict[str, Any]:
        """The same for ``--json``."""
        return {"check": self.fix.check, "argv": list(self.fix.argv), "exit_code": self.code, "said": self.said}


def fixes_of(findings: Iterable[Finding], program: tuple[str, ...], arguments: tuple[str, ...]) -> tuple[Fix, ...]:
    """Each command once, in the order of the findings.

    ``program`` and ``arguments`` take the place of ``rigappliance`` and follow its verb's words.
    """
    found: dict[tuple[str, ...], Fix] = {}
    for finding in findings:
        if finding.severity == "ok":
            continue
        for words in finding.fix:
            ours = words[0] == "rigappliance"
            argv = (*program, *words[1:], *arguments) if ours else words
            found.setdefault(argv, Fix(finding.check, argv, ours))
    return tuple(found.values())


def check_may_fix(uid: int | None = None) -> None:
    """Raises ``PreflightError`` for anybody but root, before anything is begun."""
    uid = os.geteuid() if uid is None else uid
    if uid != 0:
        raise PreflightError(
            f"`rigappliance check --fix --yes` runs as user {uid}",
            "root, who alone may set what is to be mended",
            "run it with sudo, or look first without --yes",
        )


def apply(fix: Fix) -> Outcome:
    """Run the command to its end. Raises nothing: what fails shows when everything is checked again."""
    try:
        done = subprocess.run(
            fix.argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            # To make a swap file can take half an hour, of which it tells while it goes on.
            stderr=None if fix.ours else subprocess.PIPE,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        return Outcome(fix, None, f"{fix.argv[0]}: {error.strerror}")
    said = (done.stderr or "").strip() or done.stdout.strip()
    return Outcome(fix, done.returncode, said[-TAIL_CHARACTERS:])

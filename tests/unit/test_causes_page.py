"""The catalogue of causes: consistent in itself, and the page made of it current."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from rigappliance.diagnosis.catalogue import CAUSES
from rigappliance.diagnosis.cause import Decision
from rigappliance.errors import ExitCode

ROOT = Path(__file__).resolve().parent.parent.parent
# A shell's and systemd's own codes begin here.
FIRST_OF_OTHERS = 126


def test_the_page_is_current() -> None:
    done = subprocess.run(
        [sys.executable, "tools/causes", "--check"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_each_cause_has_an_exit_code_of_its_own() -> None:
    own = {cause.name: cause.exit_code for cause in CAUSES.values() if cause.name not in ("stopped", "unknown", "hung")}
    assert len(set(own.values())) == len(own)
    assert set(own.values()).isdisjoint(int(code) for code in ExitCode)
    assert max(own.values()) < FIRST_OF_OTHERS


def test_only_what_a_restart_cannot_mend_waits_for_a_change() -> None:
    for cause in CAUSES.values():
        assert bool(cause.mended_by) == (cause.decision in (Decision.STOP, Decision.COMPACT)), cause.name


def test_titles_and_remedies_are_clauses() -> None:
    for cause in CAUSES.values():
        assert cause.title and not cause.title.endswith("."), cause.name
        assert bool(cause.remedy) == (cause.decision is not Decision.NONE), cause.name
        assert not cause.remedy.endswith("."), cause.name

"""Tests that need Nix and an evaluation bench: where either is missing, none of them runs, and that is said loudly."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.nix.bench import missing

# What reads files and needs no Nix.
WITHOUT_NIX = frozenset({"test_flake_lock.py"})

REASON = missing()
HERE = Path(__file__).parent
collect_ignore = sorted({file.name for file in HERE.glob("test_*.py")} - WITHOUT_NIX) if REASON else []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if REASON:
        terminalreporter.section("NIX EVALUATION NOT RUN", sep="!", red=True, bold=True)
        terminalreporter.write_line(f"NIX EVALUATION NOT RUN: {REASON}", red=True, bold=True)
        terminalreporter.write_line(f"  left out: {', '.join(collect_ignore)}")

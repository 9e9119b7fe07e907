"""Recorded and constructed machines: every defect that was planted is found, and none is invented."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rigappliance.cli.check import GROUPS
from rigappliance.preflight import Finding, verdict
from tests.unit.preflight.machines import Bench, names, read

Open = Callable[[str], Bench]
WORDS = {"ok": 0, "warn": 1, "fail": 2}


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    opened: list[Bench] = []

    def put(name: str) -> Bench:
        opened.append(Bench(name, tmp_path, monkeypatch))
        return opened[-1]

    yield put
    for each in opened:
        each.close()


def wrong(findings: list[Finding]) -> dict[str, str]:
    """The worst severity of each check that is not well."""
    worst: dict[str, str] = {}
    for finding in sorted(findings, key=lambda finding: WORDS[finding.severity]):
        if finding.severity != "ok":
            worst[finding.check] = finding.severity
    return worst


@pytest.mark.parametrize("name", names())
def test_what_is_wrong_is_found_and_nothing_else(name: str, bench: Open) -> None:
    machine = bench(name)
    findings = machine.findings()
    told = "\n".join(f"{f.severity} {f.check}: {f.found}" for f in findings if f.severity != "ok")
    assert wrong(findings) == machine.tree["expected"], told
    assert [" ".join(words) for f in findings for words in f.fix] == machine.tree.get("fixes", [])
    for words in machine.tree.get("said", []):
        assert words in told
    for finding in findings:
        assert finding.found
        # What is wrong says what would be right and what to do; what is well asks for nothing.
        assert bool(finding.expected and finding.remedy) is (finding.severity != "ok"), finding


def test_the_recordings_are_many_and_some_are_well() -> None:
    bad = [name for name in names() if read(name)["expected"]]
    good = [name for name in names() if not read(name)["expected"]]
    assert len(bad) >= 15
    assert len(good) >= 2
    # Each group of findings that depends on the machine has a machine that it is wrong on.
    groups = {check.split(".")[0] for name in bad for check in read(name)["expected"]}
    assert groups == set(GROUPS)


@pytest.mark.parametrize("name", ["rig", "card-used-by-a-miner", "clock-lost"])
def test_the_verdict_is_that_of_the_worst(name: str, bench: Open) -> None:
    machine = bench(name)
    expected = max(machine.tree["expected"].values(), key=WORDS.__getitem__, default="ok")
    assert verdict(machine.findings()) == expected

"""What a launch made of its end: the cause everywhere that it is told, nothing lost, nothing left."""

from __future__ import annotations

import time
from dataclasses import dataclass

from rigappliance.diagnosis.catalogue import CAUSES
from rigappliance.diagnosis.cause import Decision
from tests.engine.launching import NOTHING, START_LIMIT_S, Launch
from tests.faults import record

DECISIONS = {Decision.RETRY: "restart", Decision.COMPACT: "compact, then restart", Decision.STOP: "stop"}


@dataclass(frozen=True)
class Verdict:
    """``evidence`` holds all of it, the deciding line first; ``seconds`` go from the fault to the end of `launch`."""

    evidence: tuple[str, ...]
    seconds: float


def lost(one: Launch) -> str:
    """Earlier records that are gone and files that had to be set aside, in words; empty for none."""
    home = one.home
    gone = [
        f"{name}: {before - after} record(s)"
        for name, before, after in (
            ("history.jsonl", len(one.history_before), len(home.records("history.jsonl"))),
            ("failures.jsonl", len(one.failures_before), len(home.records("failures.jsonl"))),
        )
        if after < before
    ]
    return ", ".join([*gone, *home.set_aside()])


def verdict(one: Launch, cause: str, fault: str, since_s: float, limit_s: float = START_LIMIT_S) -> Verdict:
    """Wait for the end of ``one`` and hold all that it says about it to ``cause``.

    ``since_s`` is the monotonic time of the fault. The row of the table of faults
    is written here, so that it says what was asserted.
    """
    code = one.process.wait(limit_s)
    seconds = time.monotonic() - since_s
    expected = CAUSES[cause]
    found, failures = one.own_state(), one.home.records("failures.jsonl")
    assert found and failures, one.errors()
    failure = failures[-1]
    evidence = tuple(item["text"] for item in failure["diagnosis"]["evidence"])
    assert (found["cause"], failure["cause"], failure["diagnosis"]["cause"]) == (cause,) * 3, (evidence, one.errors())
    assert (code, found["exit_code"], failure["exit_code"]) == (expected.exit_code,) * 3
    assert failure["run_id"] == found["run_id"]
    assert (failure["ready"], failure["loaded"]) == (found["ready"] is not None, found["loaded"])
    assert failure["diagnosis"]["decision"] == expected.decision
    assert expected.title in one.errors()
    assert evidence and failure["diagnosis"]["remedy"]
    missing = lost(one)
    assert missing == ""
    left = one.leftovers()
    assert left == NOTHING
    decision = f"{DECISIONS[expected.decision]} (exit code {code})"
    record(fault, cause=cause, evidence=evidence[0].strip(), decision=decision, seconds=seconds, lost=missing)
    print(f"{fault}: {cause} after {seconds:.2f} s")
    return Verdict(evidence, seconds)

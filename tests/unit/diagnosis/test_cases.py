"""Every cause is found where it is the cause, with its evidence, its numbers and its decision."""

from __future__ import annotations

import pytest

from rigappliance.diagnosis.catalogue import CAUSES
from rigappliance.diagnosis.diagnose import diagnose
from rigappliance.diagnosis.observations import Observations
from rigappliance.diagnosis.rules import RULES, Rule
from tests.unit.diagnosis.cases import Case, cases, recording, start_until
from tests.unit.diagnosis.detectors import DETECTED, answers_without, answers_without_rule, table

NOISE = [
    "Loading safetensors checkpoint shards:  33% Completed | 1/3 [00:00<00:00, 382.17it/s]",
    "\x00\x01\x02\ufffd\ufffd\x1b[31",
    "x" * 20_000,
    '(APIServer pid=1) INFO 11-23 13:14:19 [logger.py:39] Received request 7: prompt: "CUDA out of memory. SIGILL"',
    "",
]


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_the_cause_is_found(case: Case) -> None:
    diagnosis = case.diagnosis()
    assert diagnosis.cause.name == case.cause, diagnosis
    assert case.evidence in "\n".join(item.text for item in diagnosis.evidence)
    assert case.remedy in diagnosis.remedy
    assert case.confidence in ("", diagnosis.confidence)
    assert bool(diagnosis.evidence) or case.cause == "stopped"
    assert bool(diagnosis.remedy) or case.cause == "stopped"


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_it_is_found_between_noise_and_in_colours_too(case: Case) -> None:
    lines = [part for line in case.lines() for part in (*NOISE, f"\x1b[32m{line}\x1b[0m")]
    tree = {key: value for key, value in case.tree.items() if key not in ("start", "recording")}
    tree |= {"log": "\n".join(lines), "phase": case.tree.get("phase", case.tree.get("start", "process start"))}
    tree.setdefault("ready", case.tree.get("start") == "serving")
    noisy = Case(case.name, case.cause, "", "", "", tree)
    assert noisy.diagnosis().cause.name == case.cause


def test_every_cause_has_a_case() -> None:
    assert {case.cause for case in cases()} == set(CAUSES)


@pytest.mark.parametrize("cause", DETECTED)
def test_without_its_detectors_a_cause_is_missed(cause: str) -> None:
    assert list(answers_without(cause)) != []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_without_a_rule_a_case_goes_wrong(rule: Rule) -> None:
    assert list(answers_without_rule(rule)) != []


def test_the_table_of_detectors_names_every_cause() -> None:
    lines = table().splitlines()
    assert len(lines) == len(DETECTED) + 2
    assert not any("|  |" in line for line in lines)


def test_what_follows_a_cause_does_not_replace_it() -> None:
    """The words of every other failure after the first one are its consequences."""
    logs = {case.name: case for case in cases() if case.tree.get("log") and case.cause != "unknown"}
    first, second = logs["kv-cache-too-small-2"], logs["port-taken-2"]
    tree = {"log": f"{first.tree['log']}\n{second.tree['log']}", "phase": "KV cache", "exit_status": 1}
    assert Case("", "", "", "", "", tree).diagnosis().cause.name == first.cause
    tree["log"] = f"{second.tree['log']}\n{first.tree['log']}"
    assert Case("", "", "", "", "", tree).diagnosis().cause.name == second.cause


def test_an_error_that_was_survived_is_not_the_cause_of_a_later_end() -> None:
    answered = 'INFO:     127.0.0.1:39378 - "POST /v1/chat/completions HTTP/1.1" 200 OK'
    log = [*start_until("serving"), "ERROR 11-23 14:00:00 [x.py:1] OSError: [Errno 24] Too many open files"]
    died = {"ready": True, "phase": "ready", "exit_status": -11, "memory": {"kills": 0}}
    assert Case("", "", "", "", "", died | {"log": "\n".join(log)}).diagnosis().cause.name == "open-files"
    assert (
        Case("", "", "", "", "", died | {"log": "\n".join([*log, answered])}).diagnosis().cause.name == "part-crashed"
    )


def test_an_error_of_a_start_that_came_up_is_not_the_cause_of_a_later_end() -> None:
    log = [*start_until("weights"), "OSError: [Errno 24] Too many open files"]
    died = {"ready": True, "phase": "ready", "exit_status": -11, "memory": {"kills": 0}}
    assert Case("", "", "", "", "", died | {"log": "\n".join(log)}).diagnosis().cause.name == "open-files"
    log.append("INFO:     Application startup complete.")
    assert Case("", "", "", "", "", died | {"log": "\n".join(log)}).diagnosis().cause.name == "part-crashed"


def test_of_several_starts_in_a_log_the_last_one_counts() -> None:
    first, second = recording("port-taken.log"), recording("truncated-shard.log")
    assert Case("", "", "", "", "", {"log": "\n".join(first + second)}).diagnosis().cause.name == "checkpoint-truncated"
    assert Case("", "", "", "", "", {"log": "\n".join(second + first)}).diagnosis().cause.name == "port-taken"


def test_a_last_start_that_says_nothing_leaves_the_word_to_the_one_before() -> None:
    log = "\n".join(recording("port-taken.log") + start_until("config"))
    assert Case("", "", "", "", "", {"log": log}).diagnosis().cause.name == "port-taken"


def test_what_was_ruled_out_is_said_with_its_source() -> None:
    diagnosis = next(case for case in cases() if case.name == "part-killed-1").diagnosis()
    assert "no process of the unit was killed for want of memory (memory.events)" in diagnosis.ruled_out
    tree = {"exit_status": 1, "disk_free_bytes": 5 << 30}
    tree["memory"] = {"kills": 0, "limit_bytes": 10 << 30, "peak_bytes": 1 << 30}  # type: ignore[assignment]
    tree["memory"] |= {"swap_total_bytes": 8 << 30, "swap_free_low_bytes": 8 << 30}  # type: ignore[operator]
    ruled_out = "\n".join(Case("", "", "", "", "", tree).diagnosis().ruled_out)
    assert "1.0 GiB of its limit of 10.0 GiB" in ruled_out
    assert "the swap was not full" in ruled_out
    assert "the disk was not full" in ruled_out


def test_nothing_seen_at_all_is_unknown() -> None:
    from rigappliance.diagnosis.logevidence import LogEvidence

    diagnosis = diagnose(Observations(LogEvidence()))
    assert (diagnosis.cause.name, diagnosis.ruled_out) == ("unknown", ())

"""An engine that served and then fails: noticed, named, tried again without end."""

from __future__ import annotations

import pytest

from tests.unit.launch.rig import LIMIT_S, Rig


def fails(rig: Rig, *faults: dict[str, object], **keys: object) -> tuple[int, str]:
    """Exit code and cause of an engine to which this happens while it serves."""
    process = rig.start("launch")
    try:
        rig.wait_ready(process)
        rig.tell(*faults, **keys)
        code = process.wait(LIMIT_S)
    finally:
        process.kill()
        process.wait()
    failure = rig.failures()[-1]
    assert failure.ready
    return code, failure.cause


KILL_CORE: dict[str, object] = {"do": "kill", "who": "core", "at": "serving"}


def test_a_core_that_dies_while_health_goes_on_saying_200(rig: Rig) -> None:
    assert fails(rig, KILL_CORE, health="alive", stay=True) == (82, "part-killed")
    assert "VLLM::EngineCor" in rig.errors()


def test_completions_that_never_return_are_a_hang(rig: Rig) -> None:
    assert fails(rig, completions="hang") == (6, "hung")
    assert "no answer to a one-token completion" in rig.errors()


@pytest.mark.parametrize(
    ("health", "words", "named"),
    [(500, "/health answers 500", (86, "probes-refused")), ("hang", "/health does not answer", (6, "hung"))],
)
def test_a_health_check_that_fails_for_long_is_noticed_although_completions_work(
    rig: Rig, health: object, words: str, named: tuple[int, str]
) -> None:
    assert fails(rig, health=health) == named
    assert words in rig.errors()


def test_a_health_check_that_fails_for_a_moment_is_not(rig: Rig) -> None:
    rig.content["launch"]["probe_timeout"] = "10s"
    process = rig.start("launch")
    try:
        rig.wait_ready(process)
        rig.tell(health=500)
        with pytest.raises(Exception, match="timed out"):
            process.wait(3)
        rig.tell()
        with pytest.raises(Exception, match="timed out"):
            process.wait(2)
        assert rig.stop(process) == 0
    finally:
        process.kill()
        process.wait()
    assert rig.failures() == []


def test_an_engine_that_refuses_every_completion_is_noticed(rig: Rig) -> None:
    code, cause = fails(rig, completions="refuse")
    assert "was answered with 500" in rig.errors()
    assert (code, cause) == (84, "core-dead"), "the body says that the core is dead"


def test_answers_without_a_token_are_tried_a_few_times_and_then_a_failure(rig: Rig) -> None:
    assert fails(rig, completions="empty") == (86, "probes-refused")
    assert "was answered with 200" in rig.errors()


def test_what_died_while_serving_is_started_again_without_end(rig: Rig) -> None:
    for attempt in range(3):
        assert fails(rig, KILL_CORE, stay=True) == (82, "part-killed"), attempt
        rig.tell()

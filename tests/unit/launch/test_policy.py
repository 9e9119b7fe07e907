"""How often is enough."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rigappliance.diagnosis.catalogue import CAUSES
from rigappliance.diagnosis.cause import Decision
from rigappliance.errors import ExitCode
from rigappliance.launch.policy import LOADED_STARTS, STARTS, attempts, enough
from tests.unit.launch.test_failures import FAILURE

RETRY = CAUSES["part-killed"]
ONE = replace(FAILURE, cause=RETRY.name, exit_code=82, boot_id="now")


def after(count: int, **fields: bool) -> bool:
    """Whether it is enough with one more failure after ``count`` alike."""
    earlier = [replace(ONE, loaded=fields.get("loaded", False))] * count
    return enough(earlier, RETRY, loaded=fields.get("loaded", False), ready=False)


def test_cheap_starts_are_tried_five_times_and_expensive_ones_twice() -> None:
    assert [after(count) for count in range(6)] == [False] * (STARTS - 1) + [True, True]
    assert [after(count, loaded=True) for count in range(3)] == [False] * (LOADED_STARTS - 1) + [True, True]
    assert enough([replace(ONE, loaded=True), ONE], RETRY, loaded=False, ready=False) is False
    assert enough([replace(ONE, loaded=True), ONE], RETRY, loaded=True, ready=False) is True


def test_an_engine_that_had_been_ready_is_always_started_again() -> None:
    assert not enough([ONE] * 20, RETRY, loaded=True, ready=True)


@pytest.mark.parametrize(
    "break_",
    [
        {"cause": "hung"},
        {"boot_id": "before"},
        {"mended": True},
        {"ready": True},
        {"exit_code": int(ExitCode.GIVEN_UP)},
    ],
    ids=str,
)
def test_what_begins_the_count_anew(break_: dict[str, object]) -> None:
    other = replace(ONE, **break_)  # type: ignore[arg-type]
    assert attempts([ONE, ONE, other, ONE, ONE], RETRY, "now") == [ONE, ONE]
    assert attempts([ONE, ONE], RETRY, "now") == [ONE, ONE]
    assert attempts([ONE, other], RETRY, "now") == []


@pytest.mark.parametrize("cause", CAUSES.values(), ids=lambda cause: cause.name)
def test_every_cause_is_given_up_at_some_time_or_stops_at_once(cause: object) -> None:
    [known] = [each for each in CAUSES.values() if each is cause]
    alike = [replace(ONE, cause=known.name, loaded=True)] * 10
    given_up = enough(alike, known, loaded=True, ready=False)
    passing = known.decision in (Decision.RETRY, Decision.COMPACT) and known.name != "power-cut"
    assert given_up is passing


def test_memory_is_compacted_once() -> None:
    cause = CAUSES["memory-fragmented"]
    assert not enough([], cause, loaded=False, ready=False)
    assert enough([replace(ONE, cause=cause.name)], cause, loaded=False, ready=False)

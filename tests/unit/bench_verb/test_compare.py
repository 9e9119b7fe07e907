"""Better and worse: said where it is so, and hardly ever where it is not."""

from __future__ import annotations

import random

import pytest

from rigappliance.measure.compare import RECENT, Verdict, compare

# Rounds of one run differ by this much, and runs from one another.
WITHIN, BETWEEN = 0.03, 0.02


def measured(chance: random.Random, speed: float, rounds: int) -> list[float]:
    day = speed * chance.gauss(1, BETWEEN)
    return [day * chance.gauss(1, WITHIN) for _ in range(rounds)]


def verdicts(speed: float, *, earlier: int, rounds: int = 3, tries: int = 2000) -> dict[Verdict, int]:
    """Of runs at ``speed`` after earlier ones at 100."""
    chance = random.Random(1)
    found = dict.fromkeys(Verdict, 0)
    for _ in range(tries):
        others = [measured(chance, 100.0, rounds) for _ in range(earlier)]
        comparison = compare(measured(chance, speed, rounds), others, more_is_better=True)
        assert comparison is not None
        found[comparison.verdict] += 1
    return found


@pytest.mark.parametrize("earlier", [1, 2, 3, 10])
def test_noise_alone_gives_no_verdict(earlier: int) -> None:
    assert verdicts(100.0, earlier=earlier)[Verdict.SAME] >= 0.99 * 2000


@pytest.mark.parametrize(("speed", "expected"), [(75.0, Verdict.WORSE), (130.0, Verdict.BETTER)])
@pytest.mark.parametrize("earlier", [1, 3])
def test_a_real_change_is_named(speed: float, expected: Verdict, earlier: int) -> None:
    assert verdicts(speed, earlier=earlier)[expected] >= 0.95 * 2000


@pytest.mark.parametrize(("earlier", "expected"), [(1, Verdict.FEW), (2, Verdict.FEW), (3, Verdict.SAME)])
def test_single_values_like_those_of_starts_need_several_others(earlier: int, expected: Verdict) -> None:
    assert verdicts(100.0, earlier=earlier, rounds=1)[expected] >= 0.99 * 2000
    assert verdicts(75.0, earlier=earlier, rounds=1)[Verdict.WORSE] >= 0.95 * 2000 * (earlier >= 3)
    assert verdicts(75.0, earlier=earlier, rounds=1)[Verdict.BETTER] == 0


def test_more_seconds_are_worse() -> None:
    slower = compare([2.0, 2.0, 2.0], [[1.0, 1.0, 1.0]], more_is_better=False)
    assert slower is not None and slower.verdict is Verdict.WORSE
    assert str(slower) == "worse +100%"


def test_one_earlier_run_says_little_about_a_small_change() -> None:
    one = compare([1.08, 1.08], [[1.0]], more_is_better=True)
    three = compare([1.08, 1.08], [[1.0], [1.001], [0.999]], more_is_better=True)
    single = compare([1.08], [[1.0]], more_is_better=True)
    assert one is not None and three is not None and single is not None
    assert (one.verdict, three.verdict, single.verdict) == (Verdict.SAME, Verdict.BETTER, Verdict.FEW)
    assert (str(one), str(single)) == ("~ +8% (12%)", "? +8% (of 1)")


def test_what_was_long_ago_hides_no_change() -> None:
    ago, since = [[5.0, 5.1, 5.2]], [[10.0, 10.1, 10.2]] * RECENT
    found = compare([5.0, 5.1, 5.2], [*ago, *since], more_is_better=True)
    assert found is not None
    assert (found.verdict, found.runs) == (Verdict.WORSE, RECENT)


def test_one_outlier_widens_the_noise() -> None:
    found = compare([80.0, 80.0, 80.0], [[100.0, 100.0, 60.0]], more_is_better=True)
    assert found is not None
    assert found.verdict is Verdict.SAME
    assert found.noise == pytest.approx(0.4)


@pytest.mark.parametrize(("now", "earlier"), [([], [[1.0]]), ([1.0], []), ([1.0], [[]]), ([1.0], [[0.0]])])
def test_nothing_to_compare_is_no_verdict(now: list[float], earlier: list[list[float]]) -> None:
    assert compare(now, earlier, more_is_better=True) is None

"""What the engine's log says of throughput."""

from __future__ import annotations

import pytest

from rigappliance.plan.times import decode, prefill
from rigappliance.plan.times_log import SHORT_QUESTION, Requests, logged
from tests.unit.plan.test_times import AS_MEASURED, KNOWN, QWEN_72B, TP_8, cores, rig


@pytest.mark.parametrize("generation", [1, 2, 3])
def test_the_rigs_log_averages_prompts_as_was_measured(generation: int) -> None:
    """About 4 tok/s of prompt, which a short question of 40 tokens is on the one line of ten seconds that counts it."""
    line = logged(QWEN_72B, rig(generation), AS_MEASURED, SHORT_QUESTION, 2048, KNOWN)
    assert line.prompt_tokens_s == pytest.approx(4, rel=0.25)
    # Of those ten seconds some went to reading.
    writing = decode(QWEN_72B, rig(generation), AS_MEASURED, 1, KNOWN, 104).tokens_s
    assert 0.7 * writing < line.generation_tokens_s < writing


def test_the_log_says_how_long_a_prompt_is_and_not_how_fast_it_is_read() -> None:
    slow, fast = rig(1), rig(4, 16)
    long = Requests(prompt_tokens=80, answer_tokens=128)
    assert prefill(QWEN_72B, fast, TP_8, 80, 2048, KNOWN).tokens_s > 3 * (
        prefill(QWEN_72B, slow, TP_8, 80, 2048, KNOWN).tokens_s
    )
    for machine in (slow, fast):
        assert logged(QWEN_72B, machine, TP_8, long, 2048, KNOWN).prompt_tokens_s == pytest.approx(8.0)


def test_requests_that_are_short_against_the_logs_window_fill_it() -> None:
    many = cores(rig(4, 16), 64)
    one_word = Requests(prompt_tokens=40, answer_tokens=1)
    line = logged(QWEN_72B, many, TP_8, one_word, 2048, KNOWN)
    request_s = 40 / prefill(QWEN_72B, many, TP_8, 40, 2048, KNOWN).tokens_s
    request_s += 1 / decode(QWEN_72B, many, TP_8, 1, KNOWN, 40).tokens_s
    assert line.prompt_tokens_s == pytest.approx(40 / request_s)
    assert line.prompt_tokens_s > 40

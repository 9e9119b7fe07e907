"""Predicted weights of a rank against the engine's own model classes, built on the meta device."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sharded import CASES, Answer, Case, built_by_the_engine

pytestmark = pytest.mark.engine
# The goal is 0.5 %; what is left are scales of the attention, a few bytes a layer, which no ledger needs.
LARGEST_ERROR = 1e-6
SCALES = (".attn._", ".attn.k_", ".attn.q_", ".attn.v_", ".attn.prob_")


@pytest.fixture(scope="module")
def answers(engine_python: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Answer]:
    """The classes of all cases, in one process: most of its time goes into imports."""
    built = built_by_the_engine(engine_python, CASES, tmp_path_factory.mktemp("checkpoints"))
    return {case.name: answer for case, answer in zip(CASES, built, strict=True)}


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_the_classes_register_what_the_plan_says(case: Case, answers: dict[str, Answer]) -> None:
    answer = answers[case.name]
    assert not answer.error
    predicted = case.predicted()
    created = sum(answer.created.values())
    assert created > 100_000_000
    assert abs(predicted.total_bytes - created) / created < LARGEST_ERROR
    scales = {name for name in answer.created if any(mark in name for mark in SCALES)}
    assert predicted.parameters == {name: size for name, size in answer.created.items() if name not in scales}


@pytest.mark.parametrize(
    "case", [case for case in CASES if "GPTQ" in case.name], ids=[case.name for case in CASES if "GPTQ" in case.name]
)
def test_what_marlin_leaves_is_what_the_plan_says(case: Case, answers: dict[str, Answer]) -> None:
    loaded = answers[case.name].loaded
    assert loaded is not None and sum(loaded.values()) < sum(answers[case.name].created.values())
    error = case.predicted().after_loading_bytes / sum(loaded.values()) - 1
    assert abs(error) < LARGEST_ERROR

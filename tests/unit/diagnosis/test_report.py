"""A diagnosis as text and as JSON, and back from it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rigappliance.diagnosis.report import as_dict, as_text, from_dict
from tests.unit.diagnosis.cases import Case, cases


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_json_gives_back_what_went_in(case: Case) -> None:
    diagnosis = case.diagnosis()
    assert from_dict(json.loads(json.dumps(as_dict(diagnosis)))) == diagnosis


def test_the_page_says_cause_evidence_decision_and_what_to_do() -> None:
    page = as_text(
        next(case for case in cases() if case.name == "checkpoint-truncated-1").diagnosis(), "x.log: 272 lines"
    )
    assert page.splitlines()[:2] == [
        "x.log: 272 lines",
        "cause: a shard of the checkpoint is shorter than its header says (checkpoint-truncated, certain)",
    ]
    assert "  engine log, line 154: (Worker pid=6693) ERROR" in page
    assert "decision: no restart: it would fail in the same way until something is changed" in page
    assert "to do: run `rigappliance fetch`" in page


def test_long_lines_are_cut_on_the_page_alone() -> None:
    diagnosis = next(case for case in cases() if case.name == "checkpoint-unsupported-1").diagnosis()
    assert max(len(line) for line in as_text(diagnosis).splitlines()) < 330
    assert max(len(item["text"]) for item in as_dict(diagnosis)["evidence"]) == 600


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(JSON, JSON, JSON, JSON)
def test_nonsense_gives_none_or_a_diagnosis(whole: Any, evidence: Any, confidence: Any, remedy: Any) -> None:
    assert from_dict(whole) is None
    made = from_dict(
        {"cause": "oomd", "evidence": evidence, "confidence": confidence, "remedy": remedy, "ruled_out": evidence}
    )
    assert made is not None
    assert made.cause.name == "oomd"


def test_a_cause_of_another_version_is_none() -> None:
    assert from_dict({"cause": "from-the-future"}) is None

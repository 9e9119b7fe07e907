"""Damage of tokenizer.json that shows at its ends, and what only reading it shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from rigappliance.facts.tokenizer import tokenizer_damage

WHOLE = '{"model": {"vocab": {' + ", ".join(f'"{i}": {i}' for i in range(200)) + "}}}\n"


@pytest.mark.parametrize(
    ("text", "ends", "whole"),
    [
        (WHOLE, None, None),
        ("", "the file is empty", "the file is empty"),
        (WHOLE[:1000], "it does not end", "no JSON"),
        (WHOLE[500:], "it does not begin", "no JSON"),
        (WHOLE.replace("100", "\0\0\0"), None, "no JSON"),
        ("[]", "it does not begin", "it holds a list"),
        ("{}", None, "it has no object named model"),
        ("[" * 100_000, "it does not begin", "no JSON"),
    ],
    ids=["whole", "empty", "cut", "headless", "hole", "list", "another", "deep"],
)
def test_damage(tmp_path: Path, text: str, ends: str | None, whole: str | None) -> None:
    (tmp_path / "tokenizer.json").write_text(text)
    for found, expected in ((tokenizer_damage(tmp_path), ends), (tokenizer_damage(tmp_path, parse=True), whole)):
        assert (found is None) is (expected is None)
        assert expected is None or str(found).startswith(expected)


def test_one_that_is_not_there_is_somebody_elses_finding(tmp_path: Path) -> None:
    assert tokenizer_damage(tmp_path) is None
    assert tokenizer_damage(tmp_path, parse=True) is None

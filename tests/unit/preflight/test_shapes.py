"""config.json against the shapes in the headers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rigappliance.demo.checkpoint import write_checkpoint
from rigappliance.facts.knownshapes import read_known_shapes
from rigappliance.facts.model import read_model_facts
from rigappliance.preflight.shapes import check_shapes
from tests.unit.preflight.rig import qwen

EMBEDDING, NORM = "model.embed_tokens.weight", "model.norm.weight"


@pytest.mark.parametrize(
    ("shapes", "severity"),
    [
        ({EMBEDDING: (152064, 8192), NORM: (8192,)}, "ok"),
        ({EMBEDDING: (151936, 8192)}, "fail"),
        ({EMBEDDING: (152064, 5120)}, "fail"),
        ({NORM: (5120,)}, "fail"),
    ],
)
def test_declared_sizes_are_those_of_the_tensors(shapes: dict[str, tuple[int, ...]], severity: str) -> None:
    finding = check_shapes(qwen(), shapes)
    assert finding is not None
    assert finding.severity == severity


def test_what_is_not_known_is_not_judged() -> None:
    assert check_shapes(qwen(), {}) is None
    finding = check_shapes(qwen(vocab_size=None), {EMBEDDING: (7, 8192)})
    assert finding is not None
    assert finding.severity == "ok"


@pytest.mark.parametrize("index", [True, False], ids=["with an index", "without"])
def test_a_changed_size_in_config_json_is_seen(tmp_path: Path, index: bool) -> None:
    write_checkpoint(tmp_path)
    if not index:
        (tmp_path / "model.safetensors.index.json").unlink()
    shapes = read_known_shapes(tmp_path)
    assert EMBEDDING in shapes
    assert check_shapes(read_model_facts(tmp_path), shapes) is not None
    tree = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**tree, "hidden_size": 2 * tree["hidden_size"]}))
    finding = check_shapes(read_model_facts(tmp_path), shapes)
    assert finding is not None
    assert finding.severity == "fail"


def test_a_directory_that_is_not_there_has_no_shapes(tmp_path: Path) -> None:
    assert read_known_shapes(tmp_path / "no") == {}

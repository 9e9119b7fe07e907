from __future__ import annotations

import itertools
import re
import tomllib
from pathlib import Path

import pytest

from rigappliance.config import RigConfig
from rigappliance.configfile import load_config
from rigappliance.example import EXAMPLES, annotated_example
from rigappliance.render.vllm import render

RIG_TOML = Path(__file__).resolve().parent.parent.parent / "rig.toml"


def test_committed_example_is_current() -> None:
    assert RIG_TOML.read_text(encoding="utf-8") == annotated_example()


def test_example_declares_the_defaults() -> None:
    assert load_config(RIG_TOML, environ={}) == RigConfig.model_validate({})
    assert RigConfig.model_validate(tomllib.loads(annotated_example())) == RigConfig.model_validate({})


def test_example_has_every_key_of_the_schema() -> None:
    schema = RigConfig.model_json_schema()
    text = annotated_example()
    for name, prop in schema["properties"].items():
        reference = prop.get("$ref", "").rpartition("/")[2]
        if not reference:
            assert re.search(rf"^{name} = ", text, re.M)
            continue
        section = text.split(f"\n[{name}]\n")[1].split("\n[")[0]
        for key in schema["$defs"][reference]["properties"]:
            assert re.search(rf"^(# )?{key} = ", section, re.M), f"{name}.{key}"


def test_every_key_follows_a_comment_of_readable_width() -> None:
    lines = annotated_example().splitlines()
    for before, line in itertools.pairwise(lines):
        assert len(line) <= 104
        if re.match(r"(# )?[a-z_]+ = ", line):
            assert before.startswith("# "), line


@pytest.mark.parametrize("key", EXAMPLES)
def test_each_commented_example_is_valid(key: str) -> None:
    section, name = key.split(".")
    config = RigConfig.model_validate(tomllib.loads(f"[{section}]\n{name} = {EXAMPLES[key]}\n"))
    assert name in getattr(config, section).model_fields_set
    render(config)

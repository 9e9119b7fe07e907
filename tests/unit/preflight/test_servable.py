"""Which checkpoints the pinned engine knows, by the table that was made from it."""

from __future__ import annotations

import pytest

from rigappliance.facts.model import Quantisation
from rigappliance.preflight.servable import check_servable, served
from tests.unit.preflight.rig import config, of, qwen


@pytest.mark.parametrize(
    ("name", "severity"),
    [
        ("Qwen2ForCausalLM", "ok"),
        ("LlamaForCausalLM", "ok"),
        # Converted by the engine to the one that it has.
        ("Qwen2ForSequenceClassification", "ok"),
        ("Qwen2Model", "ok"),
        ("LlamaForFoo", "fail"),
        ("ForCausalLM", "fail"),
        ("AlbertForMaskedLM", "warn"),
    ],
)
def test_architectures(name: str, severity: str) -> None:
    findings = check_servable(config(), qwen(architectures=(name,)))
    assert of(findings, "checkpoint.architecture").severity == severity


def test_one_of_several_is_enough() -> None:
    findings = check_servable(config(), qwen(architectures=("LlamaForFoo", "LlamaForCausalLM")))
    assert of(findings, "checkpoint.architecture").severity == "ok"


def test_code_of_the_checkpoints_own_may_serve_what_the_engine_does_not_know() -> None:
    trusting = config(model={"trust_remote_code": True})
    findings = check_servable(trusting, qwen(architectures=("LlamaForFoo",)))
    assert of(findings, "checkpoint.architecture").severity == "warn"


@pytest.mark.parametrize(
    ("method", "severity"),
    [("gptq", "ok"), ("compressed_tensors", "ok"), ("FP8", "ok"), ("auto-round", "ok"), ("exl2", "fail"),
     ("unknown", "fail"), ("bitsandbytes", "fail")],
)  # fmt: skip
def test_methods(method: str, severity: str) -> None:
    findings = check_servable(config(), qwen(quantisation=Quantisation(method)))
    assert of(findings, "checkpoint.quantisation").severity == severity


def test_what_config_json_does_not_say_is_not_judged() -> None:
    assert check_servable(config(), qwen(architectures=(), quantisation=None)) == []


def test_the_table_is_of_the_size_that_the_engines_registry_has() -> None:
    assert 300 < len(served().architectures) < 600
    assert len(served().quantisations) > 20
    assert not served().architectures & served().transformers

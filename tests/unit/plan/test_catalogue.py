"""The catalogue against what others publish of the same checkpoints."""

from __future__ import annotations

import pytest

from rigappliance.errors import UsageError
from rigappliance.plan.catalogue import catalogue_names, entries, from_catalogue
from rigappliance.plan.kvcache import sliding_window
from rigappliance.plan.sharding import rank_weights
from rigappliance.plan.tensors import TensorShape

PUBLISHED = [name for name, entry in entries().items() if entry.total_bytes]


@pytest.mark.parametrize("name", PUBLISHED)
def test_tensors_are_as_large_as_published(name: str) -> None:
    entry, tensors_bytes = entries()[name], from_catalogue(name).tensor_bytes
    assert entry.total_bytes and entry.total_source
    if entry.total_within:
        assert tensors_bytes == pytest.approx(entry.total_bytes, rel=entry.total_within)
    else:
        assert tensors_bytes == entry.total_bytes


def test_enough_of_them_are_compared() -> None:
    assert len(PUBLISHED) >= 12
    assert sum(not entries()[name].total_within for name in PUBLISHED) >= 10


@pytest.mark.parametrize("name", catalogue_names())
def test_every_entry_has_a_source_and_can_be_laid_out(name: str) -> None:
    entry = entries()[name]
    assert entry.source.startswith("https://") and entry.date.count("-") == 2
    weights = rank_weights(from_catalogue(name), 1)
    assert weights.exact
    # Everything but the biases of zeros, g_idx and the scales of a bias goes onto one card.
    assert weights.total_bytes == pytest.approx(from_catalogue(name).tensor_bytes, rel=0.08)


def test_models_that_must_be_there() -> None:
    for size in ("0.5B", "7B", "14B", "32B", "72B"):
        for form in ("", "-GPTQ-Int8", "-GPTQ-Int4", "-AWQ"):
            assert f"Qwen/Qwen2.5-{size}-Instruct{form}" in catalogue_names()
    assert {"meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-70B-Instruct"} < set(catalogue_names())


def test_a_name_is_found_without_its_owner_and_in_any_case() -> None:
    assert from_catalogue("qwen2.5-7b-instruct") is from_catalogue("Qwen/Qwen2.5-7B-Instruct")


def test_an_unknown_name_is_answered_with_near_ones() -> None:
    with pytest.raises(UsageError, match=r"Qwen2\.5-72B-Instruct-GPTQ-Int8"):
        from_catalogue("Qwen/Qwen2.5-72B-Instruct-GPTQ-Int9")


def test_tensors_have_the_names_and_shapes_of_their_tools() -> None:
    gptq = from_catalogue("Qwen2.5-72B-Instruct-GPTQ-Int8").tensors
    down = "model.layers.79.mlp.down_proj"
    assert gptq[f"{down}.qweight"] == TensorShape("I32", (29696 // 4, 8192))
    assert gptq[f"{down}.qzeros"] == TensorShape("I32", (232, 8192 // 4))
    assert gptq[f"{down}.scales"] == TensorShape("F16", (232, 8192))
    assert gptq[f"{down}.g_idx"] == TensorShape("I32", (29696,))
    assert gptq[f"{down}.bias"] == TensorShape("F16", (8192,))
    awq = from_catalogue("Qwen2.5-7B-Instruct-AWQ").tensors
    assert awq["model.layers.0.mlp.up_proj.qweight"] == TensorShape("I32", (3584, 18944 // 8))
    assert "model.layers.0.self_attn.o_proj.bias" not in awq and "model.layers.0.self_attn.k_proj.bias" in awq
    assert "lm_head.weight" not in from_catalogue("Qwen2.5-0.5B-Instruct").tensors


def test_null_is_not_an_absent_key() -> None:
    """Transformers gives a Mistral without the key a window of its own."""
    mistral = from_catalogue("Mistral-7B-Instruct-v0.3")
    assert mistral.config["sliding_window"] is None and sliding_window(mistral) is None

"""Sharding rules at their edges. That they are the engine's own is shown by tests/engine/test_sharding.py."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rigappliance.demo.checkpoint import write_checkpoint
from rigappliance.plan.catalogue import from_catalogue
from rigappliance.plan.sharding import rank_weights, stage_layers, weights_of_ranks
from rigappliance.plan.sharding.allocator import slack_bytes
from rigappliance.plan.sharding.marlin import padded_sizes
from rigappliance.plan.sharding.models import own_kv_heads
from rigappliance.plan.sharding.parts import ImpossibleLayoutError
from rigappliance.plan.tensors import CheckpointShape, TensorShape, UnknownShapeError, read_shape
from tests.checkpoints import write_headers
from tests.sharded import CASES, FP8_BLOCKS, GPTQ_COLUMNS, GPTQ_INT4, W4A16, Case

RIG = "Qwen2.5-72B-Instruct-GPTQ-Int8"
SMALL = "Qwen2.5-0.5B-Instruct"
MIB = 1 << 20


def changed(shape: CheckpointShape, **config: Any) -> CheckpointShape:
    """With other values in config.json and the same headers."""
    return replace(shape, config={**shape.config, **config})


def test_the_seeds_rank_holds_what_was_measured() -> None:
    weights = rank_weights(from_catalogue(RIG), 8)
    # 8.97 GiB a rank was logged by an older engine, which kept other small tensors.
    assert weights.total_bytes / 2**30 == pytest.approx(8.97, rel=0.01)
    assert weights.after_loading_bytes / 2**30 == pytest.approx(8.97, rel=0.01)
    assert weights.after_loading_bytes < weights.total_bytes
    assert not any(name.endswith(("g_idx", "o_proj.bias")) for name in weights.parameters)


def test_headers_on_disk_give_the_same_as_the_catalogue(tmp_path: Path) -> None:
    shape = from_catalogue(RIG)
    read = read_shape(write_headers(shape, tmp_path / "model"))
    assert read.tensors == shape.tensors and len(read.tensors) == 2963
    assert read.tensor_bytes == shape.tensor_bytes
    assert rank_weights(read, 8) == rank_weights(shape, 8)


def test_a_checkpoint_that_was_really_written_is_read(tmp_path: Path) -> None:
    """The demo's: its headers were made by other code than the catalogue's."""
    write_checkpoint(tmp_path)
    shape = read_shape(tmp_path)
    weights = rank_weights(shape, 1)
    rotations = weights.bytes_under("model.layers.0.self_attn.rotary_emb")
    assert weights.exact and rotations == shape.config["max_position_embeddings"] * shape.head_dim * 2
    # A vocabulary that 64 does not divide: embedding and head are held with the rows up to the next multiple.
    padding = 2 * (-shape.vocab_size % 64) * shape.hidden_size * 2
    assert padding and weights.total_bytes - rotations == shape.tensor_bytes + padding


@pytest.mark.parametrize("case", [case for case in CASES if case.pipeline_parallel > 1], ids=lambda case: case.name)
def test_stages_hold_every_layer_once(case: Case) -> None:
    stages = stage_layers(case.shape().layers, case.pipeline_parallel, case.partition)
    assert [layer for stage in stages for layer in stage] == list(range(case.shape().layers))


@pytest.mark.parametrize(
    ("layers", "stages", "partition", "counts"),
    [
        (80, 8, None, [10] * 8),
        (24, 5, None, [5, 5, 5, 5, 4]),
        (29, 4, None, [7, 7, 8, 7]),
        (31, 4, None, [8, 8, 8, 7]),
        (5, 2, None, [3, 2]),
        (80, 4, "21,21,21,17", [21, 21, 21, 17]),
    ],
)
def test_left_over_layers_go_to_the_stages_before_the_last(
    layers: int, stages: int, partition: str | None, counts: list[int]
) -> None:
    # Four are left over of 24: all stages but the last get one.
    assert [len(stage) for stage in stage_layers(layers, stages, partition)] == counts


@pytest.mark.parametrize(
    ("layers", "stages", "partition"), [(4, 5, None), (80, 4, "20,20,20"), (80, 2, "40,39"), (80, 2, "40,x")]
)
def test_a_partition_that_does_not_fit_is_refused(layers: int, stages: int, partition: str | None) -> None:
    with pytest.raises(ImpossibleLayoutError, match=f"{layers} layers over {stages} stages"):
        stage_layers(layers, stages, partition)


@pytest.mark.parametrize(
    ("model", "ranks", "found"),
    [
        (SMALL, 4, "the attention heads"),
        (SMALL, 3, "the padded vocabulary"),
        (RIG, 5, "the padded vocabulary"),
        # 14 heads, and 448 inputs of o_proj a rank, in groups of 128.
        ("Qwen2.5-0.5B-Instruct-GPTQ-Int8", 2, "cut through the groups of 128"),
        # 72B's AWQ is padded for 8 ranks; 32B's 27648 inputs over 16 are not whole groups.
        ("Qwen2.5-72B-Instruct-AWQ", 64, "cut through the groups of 128"),
        ("Qwen3-30B-A3B", 12, "the padded vocabulary"),
    ],
)
def test_a_layout_that_the_engine_refuses_is_refused(model: str, ranks: int, found: str) -> None:
    with pytest.raises(ImpossibleLayoutError, match=found):
        rank_weights(from_catalogue(model), ranks)


@pytest.mark.parametrize(("kv_heads", "ranks"), [(8, 5), (4, 6), (3, 4)])
def test_kv_heads_are_shared_or_copied_evenly(kv_heads: int, ranks: int) -> None:
    shape = changed(from_catalogue(RIG), num_key_value_heads=kv_heads)
    with pytest.raises(ImpossibleLayoutError, match="KV heads"):
        own_kv_heads(shape, ranks)


def test_a_tied_head_is_held_at_both_ends() -> None:
    first, middle, last = (rank_weights(from_catalogue(SMALL), 1, 3, stage) for stage in range(3))
    embedding = 151936 * 896 * 2
    assert first.bytes_under("model.embed_tokens") == embedding == last.bytes_under("model.embed_tokens")
    assert middle.bytes_under("model.embed_tokens") == 0 == last.bytes_under("lm_head")
    assert last.bytes_under("model.norm") == 896 * 2 and first.bytes_under("model.norm") == 0


def test_one_group_a_column_is_one_row_of_scales_on_every_rank() -> None:
    held = rank_weights(
        Case("Qwen2.5-7B-Instruct", changes={"quantization_config": GPTQ_COLUMNS}).shape(), 2
    ).parameters
    assert held["model.layers.0.self_attn.o_proj.scales"] == 3584 * 2 == held["model.layers.0.mlp.down_proj.scales"]


def test_fp8_blocks_are_not_cut() -> None:
    """18944 rows of the gate over 4 ranks are 4736, which is 37 blocks; over 7 heads' worth of ranks they are not."""
    assert rank_weights(Case("Qwen2.5-7B-Instruct", changes={"quantization_config": FP8_BLOCKS}).shape(), 4).exact
    with pytest.raises(ImpossibleLayoutError, match="cuts through its blocks"):
        rank_weights(Case(SMALL, changes={"quantization_config": FP8_BLOCKS}).shape(), 2)


@pytest.mark.parametrize(
    "config",
    [
        {"architectures": ["BloomForCausalLM"]},
        {"architectures": []},
        {"qk_norm": True},
        {"quantization_config": {"quant_method": "bitsandbytes"}},
        {"quantization_config": {"quant_method": "gptq", "bits": 3, "group_size": 128, "desc_act": False, "sym": True}},
        {"quantization_config": {"quant_method": "gptq", "bits": 8, "group_size": 128, "desc_act": True, "sym": True}},
        {"quantization_config": {"quant_method": "gptq", "bits": 8, "group_size": 128, "desc_act": False}},
        {"hidden_size": 4096},
        {"intermediate_size": 29568},
        {"num_hidden_layers": 81},
        {"vocab_size": None},
    ],
)
def test_what_is_not_known_is_not_said_as_exact(config: dict[str, Any]) -> None:
    shape = changed(from_catalogue(RIG), **config)
    with pytest.raises(UnknownShapeError):
        rank_weights(shape, 8)
    if "num_hidden_layers" not in config:
        ranks = weights_of_ranks(shape, 4, 2)
        assert len(ranks) == 2 and all(not rank.exact and "an estimate" in rank.note for rank in ranks)
        assert ranks[0].total_bytes == -(-shape.tensor_bytes // 8)


def test_a_checkpoint_without_a_tensor_is_not_whole() -> None:
    shape = from_catalogue(RIG)
    tensors = {name: tensor for name, tensor in shape.tensors.items() if name != "model.layers.7.mlp.up_proj.qweight"}
    with pytest.raises(UnknownShapeError, match=r"model.layers.7.mlp.(gate|up)_proj.weight"):
        rank_weights(replace(shape, tensors=tensors), 8)


def test_a_module_that_is_left_unquantised_is_held_as_it_is() -> None:
    """Headers decide, as in the engine: some checkpoints keep a layer in 16 bits."""
    shape = from_catalogue(RIG)
    name = "model.layers.3.mlp.down_proj"
    tensors = {key: tensor for key, tensor in shape.tensors.items() if not key.startswith(f"{name}.")}
    tensors[f"{name}.weight"] = TensorShape("F16", (8192, 29696))
    held = rank_weights(replace(shape, tensors=tensors), 8).parameters
    assert held[f"{name}.weight"] == 8192 * 29696 // 8 * 2 and f"{name}.qweight" not in held


@pytest.mark.parametrize(
    ("quantisation", "ranks", "known"),
    # 768 inner values an expert: whole groups or blocks of 128 over 2 and 3 ranks, not over 4.
    [(GPTQ_INT4, 2, True), (GPTQ_INT4, 4, False), (FP8_BLOCKS, 2, True), (FP8_BLOCKS, 4, False), (W4A16, 1, False)],
)
def test_experts_for_which_the_engine_takes_another_kernel_are_not_known(
    quantisation: dict[str, Any], ranks: int, known: bool
) -> None:
    shape = Case("Qwen3-30B-A3B", changes={"quantization_config": quantisation, "num_hidden_layers": 2}).shape()
    assert weights_of_ranks(shape, ranks)[0].exact is known


def test_biases_that_no_checkpoint_fills_are_dropped() -> None:
    """GPTQ's class makes room for them; some checkpoints have them as zeros."""
    shape = Case("Qwen3-30B-A3B", changes={"quantization_config": GPTQ_INT4, "num_hidden_layers": 1}).shape()
    without = replace(shape, tensors={name: one for name, one in shape.tensors.items() if not name.endswith(".bias")})
    kept, dropped = rank_weights(shape, 1), rank_weights(without, 1)
    assert kept.parameters == dropped.parameters
    biases = 128 * (2 * 768 + 2048) * 2
    assert kept.after_loading_bytes - dropped.after_loading_bytes == biases


def test_marlin_pads_to_the_cheaper_of_its_tiles() -> None:
    # vLLM's rule: n by 64 and k by 128, or n by 128 and k by 64.
    assert padded_sizes(7424, 8192, 128) == (7424, 8192)
    assert padded_sizes(64, 128, -1) == (64, 128)
    assert padded_sizes(100, 64, -1) == (128, 64)
    assert padded_sizes(64, 100, -1) == (64, 128)
    assert padded_sizes(320, 192, 64) == (384, 192)


def test_segments_of_the_allocator() -> None:
    assert slack_bytes([512]) == 2 * MIB - 512
    assert slack_bytes([MIB, MIB]) == 0
    # Two of 8 MiB share a segment of 20; the third opens another.
    assert slack_bytes([8 * MIB] * 3) == 40 * MIB - 24 * MIB
    assert slack_bytes([8 * MIB, 8 * MIB, 4 * MIB]) == 0
    assert slack_bytes([11 * MIB]) == MIB
    assert slack_bytes([60 * MIB]) == 0


@pytest.mark.parametrize("damage", ["config", "shard", "empty", "header"])
def test_half_a_checkpoint_gives_no_number(tmp_path: Path, damage: str) -> None:
    directory = write_headers(from_catalogue(SMALL), tmp_path / "model")
    shard = directory / "model.safetensors"
    if damage == "config":
        (directory / "config.json").write_text("{")
    elif damage == "shard":
        (directory / "model.safetensors.index.json").write_text(
            json.dumps({"weight_map": {"a": "model.safetensors", "b": "absent.safetensors"}})
        )
    elif damage == "empty":
        shard.unlink()
    else:
        shard.write_bytes(b"\0" * 100)
    with pytest.raises(UnknownShapeError):
        read_shape(directory)

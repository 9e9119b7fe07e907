"""Bytes and tokens of the KV cache. That they are the engine's own is shown by tests/engine/test_kvcache.py."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rigappliance.plan.arguments import EngineArguments
from rigappliance.plan.catalogue import from_catalogue
from rigappliance.plan.kvcache import kv_bytes_per_token, kv_needed_bytes, kv_tokens, sliding_window
from rigappliance.plan.tensors import CheckpointShape, UnknownShapeError

RIG = from_catalogue("Qwen2.5-72B-Instruct-GPTQ-Int8")
GIB, KIB = 1 << 30, 1 << 10


def changed(**config: Any) -> CheckpointShape:
    return replace(RIG, config={**RIG.config, **config})


@pytest.mark.parametrize(
    ("arguments", "expected_kib"),
    [
        (EngineArguments(tensor_parallel=8), 40),
        (EngineArguments(tensor_parallel=1), 320),
        # 8 KV heads: at 16 ranks each holds one, as at 8.
        (EngineArguments(tensor_parallel=16), 40),
        (EngineArguments(tensor_parallel=8, kv_cache_dtype="fp8"), 20),
        (EngineArguments(tensor_parallel=8, dtype="float32"), 80),
        (EngineArguments(pipeline_parallel=8), 40),
    ],
)
def test_bytes_of_a_token(arguments: EngineArguments, expected_kib: int) -> None:
    assert kv_bytes_per_token(RIG, arguments) == expected_kib * KIB


def test_the_stage_with_least_room_decides() -> None:
    arguments = EngineArguments(pipeline_parallel=2)
    both = kv_tokens(RIG, arguments, GIB)
    assert kv_tokens(RIG, arguments, (GIB, 2 * GIB)) == both > kv_tokens(RIG, arguments, (GIB // 2, 2 * GIB)) > 0
    # The first stage has fewer layers, and so room for more.
    uneven = kv_tokens(RIG, arguments, GIB, partition="30,50")
    assert uneven < both
    assert uneven == kv_tokens(RIG, arguments, (GIB, 2 * GIB), partition="50,30")


def test_what_one_request_needs_is_just_enough() -> None:
    arguments = EngineArguments(tensor_parallel=8, max_model_len=4096)
    # 160 MiB, as known of the rig, and the block that stays empty.
    assert kv_needed_bytes(RIG, arguments) == 160 * 1024 * KIB + 16 * 40 * KIB
    assert kv_tokens(RIG, arguments, kv_needed_bytes(RIG, arguments)) >= 4096


def test_the_engine_counts_requests_not_blocks() -> None:
    """A request of 1000 tokens takes 63 blocks of 16: 8 tokens of the last one are no use to it."""
    arguments = EngineArguments(tensor_parallel=8, max_model_len=1000)
    blocks = GIB // (16 * 40 * KIB)
    assert kv_tokens(RIG, arguments, GIB) == int(blocks / 63 * 1000) < blocks * 16


def test_a_cpus_blocks_are_larger() -> None:
    arguments = EngineArguments(max_model_len=128)
    room = 3 * 128 * 320 * KIB - 1
    assert kv_tokens(RIG, arguments, room, "cpu") == 2 * 128
    assert kv_tokens(RIG, arguments, room) == 128 * 3 - 16
    assert kv_tokens(RIG, replace(arguments, block_tokens=32), room, "cpu") == 128 * 3 - 32


def test_no_room_is_no_tokens() -> None:
    assert kv_tokens(RIG, EngineArguments(tensor_parallel=8), -GIB) == 0


def test_an_unknown_cache_gives_no_number() -> None:
    with pytest.raises(UnknownShapeError, match="int8_per_token_head"):
        kv_bytes_per_token(RIG, EngineArguments(kv_cache_dtype="int8_per_token_head"))
    with pytest.raises(UnknownShapeError, match="DeepseekV3ForCausalLM"):
        kv_bytes_per_token(changed(architectures=["DeepseekV3ForCausalLM"]), EngineArguments())


@pytest.mark.parametrize(
    ("config", "window"),
    [
        ({"sliding_window": 32768}, None),
        ({"sliding_window": 32768, "use_sliding_window": True}, 32768),
        ({"model_type": "mistral"}, 4096),
        ({"model_type": "mistral", "sliding_window": None}, None),
        ({"model_type": "phi3", "sliding_window": 2047}, 2047),
        ({"model_type": "llama"}, None),
    ],
)
def test_a_window_is_said_where_the_engine_keeps_one(config: dict[str, Any], window: int | None) -> None:
    assert sliding_window(changed(**config)) == window

"""From a declaration to the engine's arguments, defaults filled in."""

from __future__ import annotations

import pytest

from rigappliance.config import RigConfig
from rigappliance.facts.gpu import CardFacts
from rigappliance.plan.arguments import EngineArguments, engine_arguments
from rigappliance.plan.kvcache import block_tokens


def declared(**engine: object) -> EngineArguments:
    return engine_arguments(RigConfig.model_validate({"engine": engine}))


def test_the_seeds_declaration() -> None:
    sizes = (1, 2, 4, 8, 16, 24, 32)
    assert declared() == EngineArguments(8, 1, 0.85, 4096, 32, 2048, capture_sizes=sizes, measures_kernels=False)


def test_a_step_has_room_for_every_request() -> None:
    assert declared(max_num_seqs=4096).max_num_batched_tokens == 4096
    assert declared(max_num_batched_tokens=512).max_num_batched_tokens == 512


@pytest.mark.parametrize(
    ("name", "memory_mib", "tokens"),
    [
        ("NVIDIA GeForce RTX 3060", 12288, 2048),
        # As an engine logged it: `Chunked prefill is enabled with max_num_batched_tokens=8192`.
        ("NVIDIA H100 80GB HBM3", 81559, 8192),
        ("NVIDIA A100-SXM4-80GB", 81920, 2048),
        ("NVIDIA B200", 183359, 16384),
        (None, 81559, 8192),
        ("NVIDIA H100 80GB HBM3", None, 2048),
    ],
)
def test_the_engine_takes_longer_steps_on_larger_cards(name: str | None, memory_mib: int | None, tokens: int) -> None:
    card = CardFacts(0, name=name, memory_total_bytes=memory_mib and memory_mib << 20)
    assert engine_arguments(RigConfig(), card).max_num_batched_tokens == tokens


def test_a_cpu_takes_a_step_for_each_rank() -> None:
    assert declared(device="cpu", tensor_parallel=2).max_num_batched_tokens == 4096


@pytest.mark.parametrize("options", [{"block-size": 32}, {"block_size": "32"}])
def test_a_declared_block_counts_on_every_device(options: dict[str, object]) -> None:
    assert {block_tokens(declared(options=options), device) for device in ("cuda", "cpu")} == {32}


def test_a_block_that_is_not_declared_depends_on_the_device() -> None:
    assert [block_tokens(declared(), device) for device in ("cuda", "cpu")] == [16, 128]


@pytest.mark.parametrize("value", [0, -16, True, "many", "-1", 1.5, "16GiB"])
def test_what_is_no_size_is_left_to_the_engine(value: object) -> None:
    assert declared(options={"block-size": value}).block_tokens is None


def test_sizes_of_graphs_are_taken_over() -> None:
    assert declared(options={"cudagraph-capture-sizes": [1, 2, "4", 0]}).capture_sizes == (1, 2, 4)

"""Host memory: the rig as measured passes, and each shortage says how much is missing."""

from __future__ import annotations

import pytest

from rigappliance.facts.safetensors import ShardFacts
from rigappliance.preflight.memory import check_memory, cpu_weight_bytes
from tests.unit.preflight.rig import GB, GIB, config, cpu_config, host, of, qwen, severities


def test_the_rig_as_measured_passes() -> None:
    findings = check_memory(config(), host(), qwen())
    assert severities(findings) == {"ok"}
    assert "13.9 GiB" in of(findings, "memory.limit").found


@pytest.mark.parametrize(("ram_bytes", "severity"), [(int(14.4 * GB), "ok"), (int(14.3 * GB), "warn"), (64 * GB, "ok")])
def test_ram_may_be_a_tenth_below_its_name(ram_bytes: int, severity: str) -> None:
    assert of(check_memory(config(), host(ram_bytes), qwen()), "memory.ram").severity == severity


@pytest.mark.parametrize(
    ("swap_bytes", "severity"), [(128 * GIB - 4096, "ok"), (126 * GIB, "warn"), (0, "warn"), (None, "warn")]
)
def test_declared_swap_is_active(swap_bytes: int | None, severity: str) -> None:
    assert of(check_memory(config(), host(swap_bytes=swap_bytes), qwen()), "memory.swap").severity == severity


@pytest.mark.parametrize(("limit", "severity"), [("90%", "ok"), ("100%", "ok"), ("14GiB", "ok"), ("16GiB", "warn")])
def test_a_limit_above_the_ram_limits_nothing(limit: str, severity: str) -> None:
    finding = of(check_memory(config(memory={"max": limit}), host(), qwen()), "memory.limit")
    assert finding.severity == severity


@pytest.mark.parametrize(
    ("swap_bytes", "severity"),
    # 90 % of 15.5 GiB is 14.95 GB; the rig used 18.5 to 28 GB in all.
    [(14 * GB, "ok"), (12 * GB, "warn"), (4 * GB, "warn"), (3 * GB, "fail"), (0, "fail")],
)
def test_eight_ranks_need_what_was_measured(swap_bytes: int, severity: str) -> None:
    assert of(check_memory(config(), host(swap_bytes=swap_bytes), qwen()), "memory.host").severity == severity


def test_fewer_ranks_need_less() -> None:
    two = config(engine={"tensor_parallel": 2})
    assert of(check_memory(two, host(swap_bytes=0), qwen()), "memory.host").severity == "ok"


def test_a_lower_limit_leaves_less_ram_to_the_engine() -> None:
    limited = config(memory={"max": "4GiB"})
    assert of(check_memory(limited, host(swap_bytes=14 * GB), qwen()), "memory.host").severity == "fail"


@pytest.mark.parametrize(("size_bytes", "severity"), [(16 * GB, "ok"), (17 * GB, "fail")])
def test_the_largest_shard_can_be_mapped(size_bytes: int, severity: str) -> None:
    small, large = ShardFacts("a", "whole", GB), ShardFacts("b", "whole", size_bytes)
    model = qwen(shards=(small, large))
    finding = of(check_memory(config(), host(swap_bytes=0), model), "memory.mapping")
    assert finding.severity == severity


@pytest.mark.parametrize(
    ("weights_gb", "swap_bytes", "severity"),
    # Beside the weights: 1.07 GB of KV cache, 2 GB of processes; RAM 16.6 GB, of which 90 % count.
    [(10, 0, "ok"), (12, 0, "fail"), (12, 10 * GB, "ok"), (14, 10 * GB, "warn"), (60, 10 * GB, "fail")],
)
def test_a_cpu_engine_holds_everything_in_host_memory(weights_gb: int, swap_bytes: int, severity: str) -> None:
    model = qwen(bytes_by_dtype={"BF16": weights_gb * GB}, tensor_bytes=weights_gb * GB)
    assert of(check_memory(cpu_config(), host(swap_bytes=swap_bytes), model), "memory.host").severity == severity


def test_the_kv_cache_counts() -> None:
    model = qwen(bytes_by_dtype={"BF16": 8 * GB}, tensor_bytes=8 * GB)
    large = cpu_config(kv_cache_memory="6GiB")
    assert of(check_memory(cpu_config(), host(swap_bytes=0), model), "memory.host").severity == "ok"
    assert of(check_memory(large, host(swap_bytes=0), model), "memory.host").severity == "fail"


@pytest.mark.parametrize(("dtype", "weight_bytes"), [("auto", 108), ("float32", 4 * 50 + 8), ("bfloat16", 2 * 50 + 8)])
def test_floats_are_converted_and_packed_integers_are_not(dtype: str, weight_bytes: int) -> None:
    model = qwen(bytes_by_dtype={"BF16": 100, "I32": 8}, tensor_bytes=108)
    assert cpu_weight_bytes(cpu_config(dtype=dtype), model) == weight_bytes


@pytest.mark.parametrize(
    ("engine", "severity"),
    [
        ({"kv_cache_memory": "12GiB"}, "ok"),
        ({"kv_cache_memory": "13GiB"}, "fail"),
        ({"kv_cache_memory": "7GiB", "tensor_parallel": 2}, "fail"),
        # Unset, the engine plans with 85 % of the RAM, and 80 % of it are available.
        ({"kv_cache_memory": None}, "fail"),
        ({"kv_cache_memory": None, "gpu_memory_utilization": 0.5}, "ok"),
        ({"kv_cache_memory": "13GiB", "environment": {"VLLM_CPU_KVCACHE_SPACE": "2"}}, "ok"),
        ({"kv_cache_memory": None, "environment": {"VLLM_CPU_KVCACHE_SPACE": "14"}}, "fail"),
    ],
)
def test_the_kv_cache_fits_the_available_ram(engine: dict[str, object], severity: str) -> None:
    assert of(check_memory(cpu_config(**engine), host(), qwen()), "memory.kv_cache").severity == severity


def test_an_unknown_ram_is_a_warning_and_no_crash() -> None:
    findings = check_memory(config(), host(ram_bytes=None, swap_bytes=None), qwen())
    assert of(findings, "memory.ram").severity == "warn"

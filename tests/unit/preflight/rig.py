"""Values for the checks: the rig as it should be, to be changed one fact at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rigappliance.config import RigConfig
from rigappliance.facts.gpu import CardFacts, GpuFacts
from rigappliance.facts.host import CpuFacts, DiskFacts, HostFacts, SwapDevice
from rigappliance.facts.model import ModelFacts, Quantisation
from rigappliance.facts.safetensors import ShardFacts
from rigappliance.preflight import Finding

GB = 1000**3
GIB = 1024**3


def config(**sections: Any) -> RigConfig:
    return RigConfig.model_validate(sections)


def cpu_config(**engine: Any) -> RigConfig:
    return config(engine={"device": "cpu", "tensor_parallel": 1, "kv_cache_memory": "1GiB", **engine})


def host(ram_bytes: int | None = 16222160 * 1024, swap_bytes: int | None = 128 * GIB - 4096) -> HostFacts:
    swap = SwapDevice("/swapfile", "file", swap_bytes or 0, 0, -2)
    return HostFacts(
        hostname="rig",
        kernel="6.12.58",
        cpu=CpuFacts("Intel(R) Pentium(R) CPU G4400 @ 3.30GHz", ("sse4_2",), 2, 2),
        ram_total_bytes=ram_bytes,
        ram_available_bytes=ram_bytes * 4 // 5 if ram_bytes else None,
        swap_devices=None if swap_bytes is None else (swap,) if swap_bytes else (),
        swap_total_bytes=swap_bytes,
        swap_used_bytes=0,
        disk=disk(),
    )


def disk(free_bytes: int | None = 500 * GB) -> DiskFacts:
    return DiskFacts(Path("/s"), Path("/s"), Path("/"), "ext4", "/dev/sda2", True, 1000 * GB, free_bytes)


def card(index: int = 0, **changes: Any) -> CardFacts:
    values: dict[str, Any] = {
        "name": "NVIDIA GeForce RTX 3060",
        "compute_capability": (8, 6),
        "memory_total_bytes": 12 * GIB,
        "memory_used_bytes": GIB // 4,
        "memory_free_bytes": 12 * GIB - GIB // 4,
        "pcie_generation": 1,
        "pcie_generation_max": 3,
        "pcie_width": 1,
        "pcie_width_max": 16,
    }
    return CardFacts(index, **{**values, **changes})


def gpu(count: int = 8, **changes: Any) -> GpuFacts:
    return GpuFacts("580.95.05", "13.0", tuple(card(i, **changes) for i in range(count)))


def qwen(**changes: Any) -> ModelFacts:
    """Qwen2.5-72B-Instruct-GPTQ-Int8."""
    shard = ShardFacts("model-00001-of-00020.safetensors", "whole", 4 * GB, 4 * GB, 20000, 100, 4 * GB)
    values: dict[str, Any] = {
        "architectures": ("Qwen2ForCausalLM",),
        "layers": 80,
        "hidden_size": 8192,
        "heads": 64,
        "kv_heads": 8,
        "head_dim": 128,
        "vocab_size": 152064,
        "intermediate_size": 29696,
        "max_positions": 32768,
        "quantisation": Quantisation("gptq", 8, 128, desc_act=False, symmetric=True),
        "bytes_by_dtype": {"F16": 5 * GB, "I32": 72 * GB},
        "tensor_bytes": 77 * GB,
        "shards": (shard,),
        "tokenizer": True,
        "chat_template": True,
    }
    return ModelFacts(Path("/m"), **{**values, **changes})


def of(findings: list[Finding], check: str) -> Finding:
    """The only finding of a check."""
    (finding,) = [finding for finding in findings if finding.check == check]
    # What is not well says what would be, and what to do.
    assert finding.severity == "ok" or (finding.expected and finding.remedy), finding
    return finding


def severities(findings: list[Finding]) -> set[str]:
    return {finding.severity for finding in findings}

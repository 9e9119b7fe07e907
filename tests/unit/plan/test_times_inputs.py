"""A model's and a machine's numbers, from facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from rigappliance.errors import ConfigError
from rigappliance.facts.gpu import CardFacts
from rigappliance.facts.host import CpuFacts, DiskFacts, HostFacts
from rigappliance.facts.model import ModelFacts, Quantisation
from rigappliance.plan.coefficients import shipped
from rigappliance.plan.links import raw_bandwidth
from rigappliance.plan.times_inputs import machine_of
from rigappliance.plan.times_model import model_of

KNOWN = shipped()
GIB = 1024**3
QWEN_72B = ModelFacts(
    Path("/models/qwen"),
    layers=80,
    hidden_size=8192,
    heads=64,
    kv_heads=8,
    head_dim=128,
    vocab_size=152064,
    intermediate_size=29696,
    quantisation=Quantisation("gptq", 8, 128),
    tensor_bytes=77_100_000_000,
)
HOST = HostFacts(
    "rig",
    "6.12",
    CpuFacts("Intel(R) Pentium(R) CPU G4400 @ 3.30GHz", ("sse4_2", "ssse3"), 2, 2),
    16 * GIB,
    15 * GIB,
    (),
    0,
    0,
    DiskFacts(Path("/models"), Path("/models"), Path("/"), "ext4", "/dev/sda2", True, 10**12, 10**11),
)
CARD = CardFacts(
    0,
    name="NVIDIA GeForce RTX 3060",
    memory_total_bytes=12 * GIB,
    pcie_generation=1,
    pcie_generation_max=2,
    pcie_width=1,
    pcie_width_max=16,
)


@dataclass(frozen=True)
class Headers:
    """What a catalogue's entry tells of a checkpoint, as far as it matters here."""

    layers: int = 24
    hidden_size: int = 896
    heads: int = 14
    kv_heads: int = 2
    head_dim: int = 64
    intermediate_size: int = 4864
    vocab_size: int = 151936
    tensor_bytes: int = 988_065_024
    quantisation: Quantisation | None = None
    tied: bool = True


def test_a_directory_and_a_catalogues_entry_both_tell_of_a_model() -> None:
    from_facts, from_headers = model_of(QWEN_72B), model_of(Headers())
    assert (from_facts.layers, from_facts.group, from_facts.inputs_first, from_facts.tied) == (80, 128, True, False)
    assert (from_headers.group, from_headers.inputs_first, from_headers.tied) == (1, False, True)
    # Qwen2.5-0.5B has 0.36 billion weights in its layers, Qwen2.5-72B 70.2.
    assert from_headers.body_bytes / 2 == pytest.approx(0.358e9, rel=0.01)
    assert 80 * (from_facts.inputs_split + from_facts.outputs_split) == pytest.approx(70.5e9, rel=0.01)


@dataclass(frozen=True)
class Mixture(Headers):
    """Qwen3-30B-A3B: 48 layers of 128 experts, of which a token uses 8."""

    layers: int = 48
    hidden_size: int = 2048
    heads: int = 32
    kv_heads: int = 4
    head_dim: int = 128
    intermediate_size: int = 6144
    tensor_bytes: int = 61_064_000_000
    tied: bool = False
    config: Mapping[str, Any] = field(
        default_factory=lambda: {"num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 768}
    )


def test_a_token_reads_the_experts_that_it_uses_and_many_tokens_nearly_all() -> None:
    model = model_of(Mixture())
    assert (model.experts, model.used_experts, model.intermediate_size) == (128, 8, 768)
    whole = model.inputs_split + model.outputs_split
    # Its name says 30 billion weights, and 3 in use; embedding and head have 0.6 of both.
    assert 48 * whole == pytest.approx(29.9e9, rel=0.01)
    assert 48 * (whole - model.idle) == pytest.approx(2.7e9, rel=0.05)
    assert model.read_share(1) == pytest.approx((whole - model.idle) / whole)
    shares = [model.read_share(tokens) for tokens in (1, 8, 64, 2048)]
    assert shares == sorted(shares) and shares[1] < 0.5 and shares[3] == pytest.approx(1)
    assert model_of(QWEN_72B).read_share(1) == 1 and model_of(QWEN_72B).idle == 0


@pytest.mark.parametrize("config", [{}, {"num_experts": 0}, {"num_experts": 8, "num_experts_per_tok": 9}])
def test_a_model_that_says_nothing_sound_of_experts_is_dense(config: dict[str, int]) -> None:
    assert model_of(Mixture(config=config)).experts == 1


def test_a_mixture_whose_experts_have_the_models_own_size() -> None:
    model = model_of(Mixture(config={"num_local_experts": 8, "num_experts_per_tok": 2}))
    assert (model.experts, model.used_experts, model.intermediate_size) == (8, 2, 6144)


@pytest.mark.parametrize(
    ("quantisation", "group"),
    [(Quantisation("gptq", 4, -1), 1), (Quantisation("awq", 4, 64), 64), (Quantisation("fp8"), 1)],
)
def test_groups_matter_where_they_cut_a_matrixs_inputs(quantisation: Quantisation, group: int) -> None:
    assert model_of(replace(QWEN_72B, quantisation=quantisation)).group == group


def test_a_config_that_leaves_numbers_out_is_said_and_not_guessed() -> None:
    with pytest.raises(ConfigError, match="does not say the model's kv_heads, vocab_size"):
        model_of(replace(QWEN_72B, kv_heads=None, vocab_size=None))


def test_a_model_without_weights_is_said_and_not_taken_for_a_fast_one() -> None:
    with pytest.raises(ConfigError, match="weights is not known"):
        model_of(replace(QWEN_72B, tensor_bytes=0))


def test_a_machine_is_as_its_facts_say() -> None:
    machine = machine_of(HOST, [CARD, replace(CARD, index=1)], KNOWN)
    assert (machine.cards, machine.card.name, machine.cores) == (2, "GeForce RTX 3060 12 GB", 2)
    # An idle card lowers its generation, not its width.
    assert machine.link.raw == raw_bandwidth(2, 1)
    assert (machine.disk_rotates, machine.disk_bytes, machine.disk_bandwidth) == (True, 10**12, None)
    assert not machine.link.peer_access


def test_the_weakest_card_and_the_narrowest_link_set_the_pace() -> None:
    fast = replace(CARD, index=1, name="NVIDIA GeForce RTX 3090", memory_total_bytes=24 * GIB, pcie_width=16)
    machine = machine_of(HOST, [fast, CARD], KNOWN)
    assert (machine.card.name, machine.link.raw) == ("GeForce RTX 3060 12 GB", raw_bandwidth(2, 1))
    mining = replace(CARD, name="P106-100", pcie_generation_max=3, pcie_width=16)
    assert machine_of(HOST, [mining], KNOWN).link.raw == raw_bandwidth(1, 4)


def test_a_link_that_is_not_told_is_the_cards_own() -> None:
    silent = replace(CARD, pcie_generation=None, pcie_generation_max=None, pcie_width=None, pcie_width_max=None)
    assert machine_of(HOST, [silent], KNOWN).link.raw == raw_bandwidth(4, 16)


def test_cores_without_avx2_are_old() -> None:
    modern = replace(HOST, cpu=replace(HOST.cpu, flags=("avx", "avx2")))
    unknown = replace(HOST, cpu=replace(HOST.cpu, flags=()))
    speeds = [machine_of(host, [CARD], KNOWN).core_speed for host in (HOST, modern, unknown)]
    assert speeds == [KNOWN.number("times.core_speed_old"), 1.0, 1.0]


def test_what_is_measured_or_shared_is_taken_over() -> None:
    machine = machine_of(HOST, [CARD], KNOWN, peer_access=True, shared=2e9, disk_bandwidth=200e6)
    assert (machine.link.peer_access, machine.link.shared, machine.disk_bandwidth) == (True, 2e9, 200e6)
    flash = replace(HOST, disk=replace(HOST.disk, rotational=False))
    assert not machine_of(flash, [CARD], KNOWN).disk_rotates


def test_a_card_that_the_table_lacks_or_that_does_not_answer_is_said() -> None:
    with pytest.raises(ConfigError, match="not in the table of cards: Radeon VII"):
        machine_of(HOST, [CARD, replace(CARD, name="Radeon VII")], KNOWN)
    with pytest.raises(ConfigError, match="no card"):
        machine_of(HOST, [CardFacts(0, problem="the driver cannot open it")], KNOWN)
    assert machine_of(HOST, [CARD, CardFacts(1, problem="fell off the bus")], KNOWN).cards == 1

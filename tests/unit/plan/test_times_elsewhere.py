"""Predictions against figures that others published, which no coefficient was fitted to."""

from __future__ import annotations

import pytest

from rigappliance.plan.cardtable import card_named
from rigappliance.plan.coefficients import shipped
from rigappliance.plan.links import Link, pcie_link
from rigappliance.plan.times import decode, prefill
from rigappliance.plan.times_inputs import Machine
from rigappliance.plan.times_model import Model
from rigappliance.plan.times_split import Split

KNOWN = shipped()
# One A100 SXM sends 300 GB/s each way over NVLink 3.
NVLINK = Link(300e9, peer_access=True)


def qwen_72b(gigabytes: float, intermediate: int = 29696) -> Model:
    return Model(80, 8192, 64, 8, 128, intermediate, 152064, int(gigabytes * 1e9))


def machine(name: str, cards: int, link: Link) -> Machine:
    card = card_named(name)
    assert card is not None
    return Machine(cards, card, link, cores=32)


# github.com/QwenLM/Qwen2.5 docs/source/benchmark/speed_benchmark.rst: vLLM 0.6.3, A100 80 GB, one request, 2048 tokens
# after a prompt of 1. The same page's 16.47 tok/s of GPTQ-Int4 on one card is left out: two cards reach 46.30.
A100 = [
    ("BF16", 145.41, 29568, 2, 18.19),
    ("BF16", 145.41, 29568, 4, 31.37),
    ("GPTQ-Int8", 77.1, 29696, 2, 31.40),
    ("GPTQ-Int4", 41.6, 29696, 2, 46.30),
    ("AWQ", 41.6, 29696, 2, 44.30),
]


@pytest.mark.parametrize(("name", "gigabytes", "intermediate", "ranks", "measured"), A100)
def test_qwen_72b_on_a100(name: str, gigabytes: float, intermediate: int, ranks: int, measured: float) -> None:
    model = qwen_72b(gigabytes, intermediate)
    speed = decode(model, machine("A100-SXM4-80GB", ranks, NVLINK), Split(ranks, 1), 1, KNOWN, context_tokens=1024)
    assert speed.tokens_s == pytest.approx(measured, rel=0.25)


def test_a_31b_model_in_4_bits_on_four_rtx_3090() -> None:
    """76.9 tok/s, vLLM 0.19.1, no NVLink, two cards on x16 and two on x8: ollama.linkworksinc.com/posts/
    vllm-tp4-3090-benchmark. The checkpoint's 20.5 GB are an estimate from its parameters."""
    model = Model(60, 5376, 32, 16, 128, 21504, 262144, 20_500_000_000, tied=True)
    speed = decode(model, machine("RTX 3090", 4, pcie_link(3, 8)), Split(4, 1), 1, KNOWN)
    assert speed.tokens_s == pytest.approx(76.9, rel=0.25)


def test_two_cards_with_peer_access_beat_two_without_as_was_measured() -> None:
    """Two RTX 3090 at generation 3 x8 read a prompt of a 27B model 1.58 times as fast with NVLink; writing gains less:
    github.com/noonghunna/club-3090 docs/PCIE_P2P.md, which does not tell the prompt's length."""
    model = Model(64, 5120, 24, 4, 256, 17408, 248320, 19_000_000_000)
    staged = machine("RTX 3090", 2, pcie_link(3, 8))
    bridged = machine("RTX 3090", 2, Link(56e9, peer_access=True))
    reading = [prefill(model, one, Split(2, 1), 4000, 2048, KNOWN).tokens_s for one in (bridged, staged)]
    assert reading[0] / reading[1] == pytest.approx(1.58, rel=0.1)
    writing = [decode(model, one, Split(2, 1), 1, KNOWN).tokens_s for one in (bridged, staged)]
    assert 1.0 < writing[0] / writing[1] < 1.3

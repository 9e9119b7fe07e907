"""The table of common cards, and finding one by what NVML or a person calls it."""

from __future__ import annotations

import tomllib

import pytest

from rigappliance.plan.cardtable import DATA, card_named, cards

MIB = 1024**2


@pytest.mark.parametrize(
    ("name", "memory_mib", "expected"),
    [
        ("NVIDIA GeForce RTX 3060", 12288, "GeForce RTX 3060 12 GB"),
        ("NVIDIA GeForce RTX 3060", 8192, "GeForce RTX 3060 8 GB"),
        ("NVIDIA GeForce RTX 3060", None, "GeForce RTX 3060 12 GB"),
        ("NVIDIA GeForce RTX 3060 Ti", 8192, "GeForce RTX 3060 Ti"),
        ("GeForce GTX 1060 3GB", 3019, "GeForce GTX 1060 3 GB"),
        ("NVIDIA GeForce GTX 1060 6GB", 6078, "GeForce GTX 1060 6 GB"),
        ("NVIDIA A100-SXM4-80GB", 81920, "A100 SXM4 80 GB"),
        ("NVIDIA A100 80GB PCIe", 81920, "A100 PCIe 80 GB"),
        ("NVIDIA A10", 23028, "A10 PCIe"),
        ("NVIDIA H100 80GB HBM3", 81559, "H100 SXM5 80 GB"),
        ("Tesla T4", 15360, "Tesla T4"),
        ("P106-100", 6077, "P106-100"),
        ("NVIDIA CMP 170HX", 8192, "CMP 170HX 8 GB"),
        ("3060 12gb", None, "GeForce RTX 3060 12 GB"),
        ("rtx3090", None, "GeForce RTX 3090"),
        ("RTX 3090 24GB", None, "GeForce RTX 3090"),
        ("RTX 4060 Ti 8GB", None, "GeForce RTX 4060 Ti 8 GB"),
    ],
)
def test_a_card_is_found_by_its_name_and_memory(name: str, memory_mib: int | None, expected: str) -> None:
    card = card_named(name, memory_mib * MIB if memory_mib else None)
    assert card is not None and card.name == expected


@pytest.mark.parametrize("name", ["NVIDIA GeForce RTX 3060 Laptop GPU", "Radeon VII", "", "12GB", "A1"])
def test_an_unknown_card_is_none_and_never_its_neighbour(name: str) -> None:
    assert card_named(name, 12288 * MIB) is None


def test_what_the_card_says_of_its_memory_goes_before_the_table() -> None:
    modified = card_named("NVIDIA GeForce RTX 2080 Ti", 22528 * MIB)
    assert modified is not None and modified.memory_bytes == 22528 * MIB
    assert modified.memory_bandwidth == 616e9


def test_mining_cards_have_the_link_that_mining_left_them() -> None:
    links = {card.name: (card.pcie_generation, card.pcie_width) for card in cards()}
    mining = [name for name in links if name.startswith(("CMP", "P10"))]
    assert len(mining) == 9
    assert {links[name] for name in mining} == {(1, 4)}
    assert links["GeForce RTX 3060 12 GB"] == (4, 16)


def test_throttled_tensor_cores_are_not_told_as_their_nominal_rate() -> None:
    throttled = card_named("CMP 170HX")
    assert throttled is not None and throttled.fp16_flops < 10e12 and throttled.int8_ops is None


def test_rates_are_those_of_the_makers_data_sheets() -> None:
    """Dense fp16 with fp32 accumulation: RTX 3090 71, RTX 4090 165, T4 65, A100 312, L4 121, H100 SXM 989 TFLOPS."""
    sheet = {"RTX 3090": 71e12, "RTX 4090": 165.2e12, "T4": 65e12, "A100-SXM4-80GB": 312e12, "L4": 121e12}
    for name, flops in {**sheet, "H100 80GB HBM3": 989e12}.items():
        card = card_named(name)
        assert card is not None and card.fp16_flops == pytest.approx(flops, rel=0.04), name


def test_every_card_is_whole_and_says_where_its_numbers_come_from() -> None:
    entries = tomllib.loads(DATA.read_text())["card"]
    assert len(entries) >= 30
    assert len({entry["name"] for entry in entries}) == len(entries)
    for entry in entries:
        assert entry["source"].startswith("https://") and entry["date"].count("-") == 2, entry["name"]
        assert entry["memory_from"] in ("nvml", "name"), entry["name"]
    for card in cards():
        # Bytes a second of memory against operations a second: outside of these a decimal point has slipped.
        assert 100e9 <= card.memory_bandwidth <= 5e12, card.name
        assert 2e12 <= card.fp16_flops <= 1e15, card.name

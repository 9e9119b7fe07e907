"""Links and what it costs to move bytes over them."""

from __future__ import annotations

import itertools

import pytest

from rigappliance.errors import ConfigError
from rigappliance.plan.coefficients import shipped
from rigappliance.plan.links import (
    GENERATIONS,
    Link,
    all_gather_s,
    all_reduce_s,
    copy_bandwidth,
    hand_over_s,
    pcie_link,
    raw_bandwidth,
)

KNOWN = shipped()
# One token's activations of a 72B model, and those of a whole batch of 2048.
TOKEN, BATCH = 16384, 2048 * 16384


@pytest.mark.parametrize(
    ("generation", "width", "expected"),
    [(1, 1, 250e6), (1, 4, 1e9), (2, 1, 500e6), (3, 1, 984.6e6), (3, 16, 15.754e9), (4, 16, 31.51e9), (5, 8, 31.51e9)],
)
def test_a_links_bandwidth_is_that_of_its_generation_and_width(generation: int, width: int, expected: float) -> None:
    assert raw_bandwidth(generation, width) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(("generation", "width"), [(0, 1), (7, 1), (3, 0), (3, 3), (3, -1)])
def test_a_link_that_pcie_does_not_have_is_refused(generation: int, width: int) -> None:
    with pytest.raises(ConfigError, match="PCIe generation"):
        pcie_link(generation, width)


@pytest.mark.parametrize("size", [TOKEN, BATCH])
@pytest.mark.parametrize("peer", [False, True])
def test_a_wider_or_newer_link_is_never_slower(size: int, peer: bool) -> None:
    for ranks in (2, 4, 8):
        for by_width in itertools.product(GENERATIONS, [(1, 4), (4, 8), (8, 16)]):
            generation, (narrow, wide) = by_width
            links = [pcie_link(generation, width, peer_access=peer) for width in (narrow, wide)]
            times = [all_reduce_s(size, ranks, link, KNOWN) for link in links]
            assert times[1] <= times[0]
        for older, newer in itertools.pairwise(GENERATIONS):
            times = [all_reduce_s(size, ranks, pcie_link(one, 1, peer_access=peer), KNOWN) for one in (older, newer)]
            assert times[1] < times[0]


def test_more_ranks_never_reduce_faster_and_one_has_nothing_to_do() -> None:
    link = pcie_link(1, 1)
    times = [all_reduce_s(TOKEN, ranks, link, KNOWN) for ranks in (1, 2, 4, 8)]
    assert times[0] == 0 and times == sorted(times) and len(set(times)) == 4
    assert all_gather_s(TOKEN, 1, link, KNOWN) == 0


@pytest.mark.parametrize("size", [256, TOKEN, BATCH])
def test_peer_access_is_faster_than_a_stop_in_host_memory(size: int) -> None:
    staged, peer = pcie_link(3, 8), pcie_link(3, 8, peer_access=True)
    assert all_reduce_s(size, 4, peer, KNOWN) < all_reduce_s(size, 4, staged, KNOWN)
    assert hand_over_s(size, peer, KNOWN) < hand_over_s(size, staged, KNOWN)


def test_a_large_all_reduce_moves_what_a_ring_must() -> None:
    """Each link carries 2 (k − 1) / k of the bytes, and the stops in host memory add at most a slice a hop."""
    link = pcie_link(1, 1)
    least = 2 * 7 / 8 * BATCH / (link.raw * KNOWN.number("times.staged_efficiency"))
    assert least < all_reduce_s(BATCH, 8, link, KNOWN) < 1.3 * least


def test_a_small_all_reduce_is_all_latency_on_a_wide_link_and_all_bytes_on_a_narrow_one() -> None:
    wide, narrow = pcie_link(4, 16), pcie_link(1, 1)
    latency = all_reduce_s(0, 8, wide, KNOWN)
    assert latency == pytest.approx(6.6e-6 + 14 * 2.5e-6)
    assert all_reduce_s(TOKEN, 8, wide, KNOWN) < 1.5 * latency
    assert all_reduce_s(TOKEN, 8, narrow, KNOWN) > 5 * latency


def test_two_cards_without_peer_access_sum_as_fast_as_was_measured() -> None:
    """11.5 µs for the smallest message between two RTX 4090 at generation 4 x16 (the coefficient's own source)."""
    assert all_reduce_s(8, 2, pcie_link(4, 16), KNOWN) == pytest.approx(11.6e-6, rel=0.02)


def test_a_shared_way_to_host_memory_limits_the_cards_together() -> None:
    alone, shared = pcie_link(3, 1), pcie_link(3, 1, shared=3.5e9)
    assert copy_bandwidth(alone, 8, KNOWN) == pytest.approx(0.86 * 984.6e6, rel=1e-3)
    assert copy_bandwidth(shared, 8, KNOWN) == 3.5e9 / 8
    assert copy_bandwidth(shared, 1, KNOWN) == copy_bandwidth(alone, 1, KNOWN)
    assert all_reduce_s(BATCH, 8, shared, KNOWN) > all_reduce_s(BATCH, 8, alone, KNOWN)
    # Peers do not pass through host memory.
    assert all_reduce_s(BATCH, 8, Link(984.6e6, True, 1e9), KNOWN) == all_reduce_s(BATCH, 8, Link(984.6e6, True), KNOWN)


def test_a_hand_over_moves_each_byte_once_and_an_all_gather_half_of_an_all_reduce() -> None:
    link = pcie_link(2, 1, peer_access=True)
    assert hand_over_s(BATCH, link, KNOWN) == pytest.approx(BATCH / (0.86 * 500e6), rel=0.01)
    assert all_gather_s(BATCH, 8, link, KNOWN) == pytest.approx(all_reduce_s(BATCH, 8, link, KNOWN) / 2, rel=0.01)

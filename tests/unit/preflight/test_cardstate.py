"""Where the line runs for cards that are hot, starved, shared or badly connected."""

from __future__ import annotations

import pytest

from rigappliance.facts.cardhealth import CardHealth, CardProcess
from rigappliance.facts.kernelmessages import KernelFaults
from rigappliance.facts.peers import PeerFacts
from rigappliance.preflight.cardcondition import check_memory_errors, check_temperature, check_xids
from rigappliance.preflight.cardlinks import check_links, check_peers
from rigappliance.preflight.cardpower import PERSISTENCE, check_persistence, check_power
from rigappliance.preflight.carduse import check_compute_mode, check_users
from tests.unit.preflight.rig import card


@pytest.mark.parametrize(
    ("degrees", "threshold", "severity"),
    [(89, 95, "ok"), (90, 95, "warn"), (84, None, "ok"), (85, None, "warn"), (None, 95, "ok")],
)
def test_five_degrees_below_what_slows_a_card_down(degrees: int | None, threshold: int | None, severity: str) -> None:
    cards = (card(0, temperature_c=degrees, health=CardHealth(temperature_slowdown_c=threshold)),)
    assert check_temperature(cards).severity == severity


@pytest.mark.parametrize(
    ("limit", "default", "severity"), [(85, 170, "ok"), (84, 170, "warn"), (84, None, "ok"), (None, 170, "ok")]
)
def test_half_of_the_default_is_enough(limit: float | None, default: float | None, severity: str) -> None:
    cards = (card(0, power_limit_w=limit, health=CardHealth(power_default_w=default, power_least_w=70)),)
    assert check_power(cards).severity == severity


@pytest.mark.parametrize(("on", "severity"), [(True, "ok"), (False, "warn"), (None, "ok")])
def test_persistence_is_mended_by_one_command_for_all(on: bool | None, severity: str) -> None:
    finding = check_persistence((card(0, health=CardHealth(persistence=on)),))
    assert (finding.severity, finding.fix) == (severity, (PERSISTENCE,) if severity == "warn" else ())


@pytest.mark.parametrize(
    ("mode", "used", "severity"),
    [
        ("default", True, "ok"),
        (None, True, "ok"),
        ("exclusive process", False, "ok"),
        ("exclusive process", True, "fail"),
        ("prohibited", False, "fail"),
    ],
)
def test_an_exclusive_card_is_free_for_one(mode: str | None, used: bool, severity: str) -> None:
    processes = (CardProcess(7, "x"),) if used else ()
    cards = (card(0, health=CardHealth(compute_mode=mode, processes=processes)),)
    assert check_compute_mode(cards).severity == severity


def test_users_are_named_once_each_with_what_is_known() -> None:
    first = CardHealth(processes=(CardProcess(7, "train", 1 << 30), CardProcess(9)))
    cards = (card(0, health=first), card(1, health=CardHealth(processes=(CardProcess(7, "train"),))))
    finding = check_users(cards)
    assert finding.found == "card 0: process 7 (train) with 1.0 GiB, process 9; card 1: process 7 (train)"
    assert "`kill 7 9`" in finding.remedy


@pytest.mark.parametrize(
    ("widths", "severity"),
    [([4, 4, 4, 1], "warn"), ([4, 4, 1, 1], "ok"), ([16, 4], "ok"), ([1, 1, 1, 4], "ok"), ([4, 4, 4, None], "ok")],
)
def test_the_odd_one_out_has_a_link_below_that_of_most(widths: list[int | None], severity: str) -> None:
    cards = tuple(card(index, pcie_width=width) for index, width in enumerate(widths))
    assert check_links(cards).severity == severity


def test_cards_of_other_kinds_may_have_other_links() -> None:
    cards = (card(0, name="display", pcie_width=1), *(card(index, pcie_width=8) for index in range(1, 5)))
    assert check_links(cards).severity == "ok"


def test_a_slot_of_a_lower_generation_is_seen_and_an_idle_link_is_not() -> None:
    idle = tuple(card(index, pcie_generation=1, pcie_generation_max=4) for index in range(4))
    assert check_links(idle).severity == "ok"
    assert check_links((*idle, card(4, pcie_generation_max=1))).severity == "warn"


@pytest.mark.parametrize(
    ("peers", "words"),
    [
        (PeerFacts(6, 6), "every card"),
        (PeerFacts(6, 2, ("why",)), "2 of 6 pairs of cards can read another's memory (why)"),
        (PeerFacts(6, 0), "no card can"),
    ],
)
def test_peer_access_is_for_the_record(peers: PeerFacts, words: str) -> None:
    finding = check_peers(peers)
    assert finding is not None
    assert finding.severity == "ok"
    assert words in finding.found


def test_one_card_has_no_peers() -> None:
    assert check_peers(PeerFacts()) is None
    assert check_peers(None) is None


def test_each_sort_of_memory_error_alone_is_told() -> None:
    for health in (CardHealth(ecc_uncorrected=1), CardHealth(pages_pending=True), CardHealth(remap_failed=True)):
        assert check_memory_errors((card(0, health=health),)).severity == "warn"
    assert check_memory_errors((card(0, health=CardHealth(ecc=True, ecc_uncorrected=0)),)).found == (
        "no memory errors (1 cards with ECC)"
    )


def test_the_last_fault_is_quoted() -> None:
    assert check_xids(None).severity == "ok"
    assert check_xids(KernelFaults()).severity == "ok"
    assert check_xids(KernelFaults(cards=("a", "b"))).found.endswith("2 faults of a card since the machine started, "
                                                                     "the last: b")  # fmt: skip

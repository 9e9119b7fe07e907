"""The picture of the ledgers, read back as XML."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from rigappliance.plan.ledger import Ledger, Line
from rigappliance.plan.picture import BAR, picture

SPACE = "{http://www.w3.org/2000/svg}"
GIB = 1 << 30


def ledger(owner: str, capacity: int, *sizes: int) -> Ledger:
    return Ledger(owner, capacity, tuple(Line(f"use-{i}", size, "derived", "<&'") for i, size in enumerate(sizes)))


def drawn(*groups: list[Ledger]) -> ElementTree.Element:
    return ElementTree.fromstring(picture("a <model>", "fits & serves", groups))


def widths(tree: ElementTree.Element) -> list[float]:
    return [float(one.attrib["width"]) for one in tree.iter(f"{SPACE}rect") if one.find(f"{SPACE}title") is not None]


def test_the_widths_are_the_bytes_on_one_scale_in_a_group() -> None:
    tree = drawn([ledger("card 0", 8 * GIB, 2 * GIB, GIB), ledger("card 1", 4 * GIB, GIB)])
    assert widths(tree) == pytest.approx([BAR / 4, BAR / 8, BAR / 8], abs=0.1)


def test_a_bar_that_is_too_long_ends_behind_its_mark_and_says_so() -> None:
    tree = drawn([ledger("card 0", 2 * GIB, GIB, 3 * GIB)])
    mark = tree.find(f"{SPACE}path")
    assert mark is not None and mark.attrib["stroke"] == "#c00000"
    words = [one.text for one in tree.iter(f"{SPACE}text")]
    assert "2.0 GiB too much" in words
    assert sum(widths(tree)) == pytest.approx(BAR, abs=0.2)


def test_any_words_give_a_file_that_can_be_read() -> None:
    words = [one.text for one in drawn([ledger("<card>", 0)], []).iter(f"{SPACE}text")]
    assert words[:3] == ["a <model>", "fits & serves", "<card>"]

"""Ledgers and the numbers that they rest on."""

from __future__ import annotations

from pathlib import Path

import pytest

from rigappliance.errors import ConfigError
from rigappliance.plan.coefficients import read_coefficients, shipped
from rigappliance.plan.ledger import Ledger, Line

WHOLE = '[vram.context]\nvalue = 3.5e8\nunit = "bytes"\nsource = "a card"\ndate = "2026-11-23"\n'


def test_the_line_that_overflows_is_the_first_that_finds_no_room() -> None:
    lines = (Line("context", 3, "measured"), Line("weights", 6, "derived"), Line("kv-cache", 2, "derived"))
    whole = Ledger("card 0", 11, lines)
    assert (whole.used_bytes, whole.free_bytes, whole.overflow) == (11, 0, None)
    short = Ledger("card 0", 10, lines)
    assert (short.free_bytes, short.overflow) == (-1, lines[2])
    assert Ledger("card 0", 8, lines).overflow == lines[1]
    assert short.bytes_of("context", "kv-cache") == 5
    assert short.as_dict()["overflow"] == "kv-cache"


def test_coefficients_are_read_by_their_dotted_names_and_a_rigs_own_go_first(tmp_path: Path) -> None:
    (tmp_path / "a").write_text(WHOLE + WHOLE.replace("context", "nccl"))
    (tmp_path / "b").write_text(WHOLE.replace("3.5e8", "4e8"))
    both = read_coefficients(tmp_path / "b").before(read_coefficients(tmp_path / "a"))
    assert {name: both.size_bytes(name) for name in both} == {"vram.context": 400_000_000, "vram.nccl": 350_000_000}


@pytest.mark.parametrize(
    "text",
    ["[a]\nvalue = ", "a = 1", WHOLE.replace("date", "day"), WHOLE.replace("3.5e8", '"3"'), WHOLE + "more = 1\n"],
)
def test_a_file_that_is_not_whole_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a").write_text(text)
    with pytest.raises(ConfigError, match="cannot be used"):
        read_coefficients(tmp_path / "a")


def test_every_shipped_number_has_a_unit_a_source_and_a_date() -> None:
    for name, one in shipped().items():
        assert one.unit and one.source and one.date.count("-") == 2, name

"""Quantities: read as written, written back without loss."""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from rigappliance.quantities import ByteSize, Duration, MemoryLimit
from rigappliance.units import (
    LONGEST_S,
    PERCENT_PATTERN,
    SIZE_PATTERN,
    SIZE_UNITS,
    TIME_PATTERN,
    TIME_UNITS,
    exact_duration,
    exact_size,
    format_duration,
    format_size,
    memory_limit_bytes,
    parse_duration,
    parse_share,
    parse_size,
)

PIB = 1024**5
BLANKS = st.sampled_from(["", " ", "  ", "\t"])
NUMBERS = st.decimals(min_value=0, max_value=10**9, places=3).map(lambda number: f"{number:f}")
# Beyond a float's 15 digits too.
COUNTS = st.one_of(st.integers(0, 1024), st.integers(0, 8 * PIB), st.integers(0, 900).map(lambda n: n * 1024**3))
MILLISECONDS = st.integers(0, int(LONGEST_S) * 1000)


# --- round trips -----------------------------------------------------------


@given(COUNTS)
def test_sizes_come_back_without_loss(count: int) -> None:
    text = exact_size(count)
    assert re.fullmatch(SIZE_PATTERN, text)
    assert parse_size(text) == count
    assert len(text) <= len(f"{count}B")


@given(MILLISECONDS)
def test_times_come_back_without_loss(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    text = exact_duration(seconds)
    assert re.fullmatch(TIME_PATTERN, text)
    assert parse_duration(text) == seconds


@given(st.decimals(min_value=0, max_value=10**5, places=9), st.sampled_from(sorted(TIME_UNITS)))
def test_declared_times_come_back_without_loss(number: Decimal, unit: str) -> None:
    seconds = parse_duration(f"{number / 100:f}{unit}")
    assert parse_duration(exact_duration(seconds)) == seconds


@given(st.integers(1, 10**6))
def test_a_time_is_written_in_the_largest_unit_that_leaves_a_whole_number(count: int) -> None:
    unit = exact_duration(count).lstrip("0123456789")
    assert unit == ("h" if count % 3600 == 0 else "min" if count % 60 == 0 else "s")


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0B"), (1, "1B"), (1000, "1kB"), (1024, "1KiB"), (128 * 1024**3, "128GiB"), (12 * 1000**3, "12GB")],
)
def test_exact_sizes(count: int, text: str) -> None:
    assert exact_size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0ms"), (0.001, "1ms"), (1.5, "1500ms"), (90.0, "90s"), (900.0, "15min"), (7200.0, "2h"), (0.0015, "1.5ms")],
)
def test_exact_times(seconds: float, text: str) -> None:
    assert exact_duration(seconds) == text


# --- reading ---------------------------------------------------------------


@given(NUMBERS, st.sampled_from(sorted(SIZE_UNITS)), BLANKS, BLANKS, BLANKS)
def test_sizes_are_read_exactly(number: str, unit: str, before: str, between: str, after: str) -> None:
    assert parse_size(f"{before}{number}{between}{unit}{after}") == int(Fraction(number) * SIZE_UNITS[unit])


@given(NUMBERS, st.sampled_from(sorted(TIME_UNITS)), BLANKS)
def test_times_are_read_up_to_a_year(number: str, unit: str, blank: str) -> None:
    text, seconds = f"{number}{blank}{unit}", float(Fraction(number) * Fraction(str(TIME_UNITS[unit])))
    if seconds <= LONGEST_S:
        assert parse_duration(text) == seconds
    else:
        with pytest.raises(ValueError, match="a year at most"):
            parse_duration(text)


def test_decimal_and_binary_units_differ() -> None:
    assert parse_size("128GiB") - parse_size("128GB") == 128 * (1024**3 - 1000**3)
    assert parse_size("128GiB") - parse_size("128GB") > 9 * 1000**3
    assert sorted(SIZE_UNITS.values()) == sorted([1, *(1000**n for n in range(1, 5)), *(1024**n for n in range(1, 5))])


NO_SIZES = ["", "GiB", "128", "128 gigs", "128G", "128gib", "-1GiB", "+1GiB", "1e3B", "1,5GiB", ".5GiB", "5.GiB",
            "1GiB 2", "0x1B", "inf GB", "nan GB", "١٢٨GiB", "9" * 19 + "B", "1GiB\n1"]  # fmt: skip
NO_TIMES = ["", "min", "15", "15 minutes", "15m", "1h30min", "-1s", "+1s", "1e3s", "1,5s", "1 S", "١s", "9" * 19 + "s"]


@pytest.mark.parametrize("value", [*NO_SIZES, 128, 1.5, True, None, ["1GiB"], {"GiB": 1}])
def test_what_is_no_size_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"a size with its unit, such as '128GiB' \(B, kB, .*TiB\)"):
        parse_size(value)


@pytest.mark.parametrize("value", [*NO_TIMES, 15, 1.5, True, None, ["1s"]])
def test_what_is_no_time_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"a time with its unit, such as '15min' \(ms, s, min, h\)"):
        parse_duration(value)


@pytest.mark.parametrize("value", ["", "%", "0%", "100.1%", "-5%", "90", 90, 0.9, "90 percent", None])
def test_what_is_no_share_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="above 0% and up to 100%"):
        parse_share(value)


@pytest.mark.parametrize(("text", "share"), [("90%", 0.9), ("100%", 1.0), (" 0.5 % ", 0.005), ("33.3%", 0.333)])
def test_shares(text: str, share: float) -> None:
    assert parse_share(text) == share


@given(st.text(max_size=12))
def test_any_text_is_a_quantity_or_a_value_error(text: str) -> None:
    for parse in (parse_size, parse_duration, parse_share):
        try:
            quantity = parse(text)
        except ValueError:
            continue
        assert quantity >= 0


QUANTITIES = st.from_regex(r"\A\s{0,2}[0-9]{0,20}(\.[0-9]{0,3})?\s?[BGTKMibkhmins%]{0,3}\s?\Z")


@given(QUANTITIES)
def test_the_schema_takes_what_the_parser_takes(text: str) -> None:
    """What an editor accepts by the schema's pattern is what a start accepts; ranges are beyond a pattern."""
    for pattern, parse, beyond in ((SIZE_PATTERN, parse_size, ""), (TIME_PATTERN, parse_duration, "a year at most")):
        try:
            parse(text)
        except ValueError as error:
            if beyond and beyond in str(error):
                continue
            assert not re.search(pattern, text)
        else:
            assert re.search(pattern, text)


def test_patterns_of_the_schema() -> None:
    assert TypeAdapter(ByteSize).json_schema()["pattern"] == SIZE_PATTERN
    assert TypeAdapter(Duration).json_schema()["pattern"] == TIME_PATTERN
    limit = TypeAdapter(MemoryLimit).json_schema()["pattern"]
    assert re.search(limit, "90%")
    assert re.search(limit, "14GiB")
    assert not re.search(limit, "14")
    assert re.search(PERCENT_PATTERN, "12.5 %")


# --- memory limits ---------------------------------------------------------


@given(st.integers(1, 64 * 1024**3), st.integers(1, 100))
def test_a_share_of_the_ram_is_never_more_than_it(ram: int, percent: int) -> None:
    limit = memory_limit_bytes(f"{percent}%", ram)
    assert 0 <= limit <= ram
    assert abs(limit - ram * percent / 100) <= 1


def test_a_size_limits_whatever_the_ram_is() -> None:
    assert memory_limit_bytes("14GiB", 1) == memory_limit_bytes("14GiB", 10**12) == 14 * 1024**3


@pytest.mark.parametrize("value", ["90%", " 90% ", "14GiB", "1B", "100%"])
def test_limits_are_kept_as_written(value: str) -> None:
    assert TypeAdapter(MemoryLimit).validate_python(value) == value.strip()


@pytest.mark.parametrize("value", ["0%", "101%", "0B", "0.1B0", "14", 14, "max", "infinity", None])
def test_limits_that_are_none(value: object) -> None:
    with pytest.raises(ValidationError, match="a size above 0 with its unit such as '14GiB'"):
        TypeAdapter(MemoryLimit).validate_python(value)


# --- for people ------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (9631172198, "9.0 GiB"),
        (77 * 10**9, "71.7 GiB"),
        (-2048, "-2.0 KiB"),
    ],
)
def test_sizes_for_people(count: int, text: str) -> None:
    assert format_size(count) == text


@given(st.integers(0, 8 * PIB))
def test_a_size_for_people_is_near_and_of_a_readable_length(count: int) -> None:
    number, unit = format_size(count, 3).split()
    assert abs(float(number) * SIZE_UNITS[unit] - count) < 0.000501 * SIZE_UNITS[unit]
    assert unit == "TiB" or float(number) <= 1024


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"), (0.44, "0.4 s"), (9.94, "9.9 s"), (42, "42 s"), (59.4, "59 s"), (59.6, "1 min 00 s"),
        (1690, "28 min 10 s"), (3599.7, "1 h 00 min"), (3900, "1 h 05 min"), (90000, "25 h 00 min"),
    ],
)  # fmt: skip
def test_times_for_people(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text

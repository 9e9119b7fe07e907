"""Quantities as an operator writes them: ``128GiB``, ``90%``, ``15min``.

Sizes are kept in bytes and times in seconds.  Decimal (GB) and binary (GiB)
prefixes are told apart, and a bare number is refused for a size, because the
difference between 128 GB and 128 GiB is nine swapped-out gigabytes.
"""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction

SIZE_UNITS: dict[str, int] = {
    "B": 1,
    "kB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "TB": 1000**4,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
    "TiB": 1024**4,
}
TIME_UNITS: dict[str, float] = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}
# Beyond a year a time is a mistake, and soon more than a socket takes as its timeout.
LONGEST_S = 366 * 24 * 3600.0

# As many digits as any quantity can need, and few enough for every later calculation.
NUMBER = r"[0-9]{1,18}(\.[0-9]{1,40})?"
SIZE_PATTERN = rf"^\s*{NUMBER}\s*(B|kB|MB|GB|TB|KiB|MiB|GiB|TiB)\s*$"
PERCENT_PATTERN = rf"^\s*{NUMBER}\s*%\s*$"
TIME_PATTERN = rf"^\s*{NUMBER}\s*(ms|s|min|h)\s*$"

_QUANTITY = re.compile(rf"\s*(?P<number>{NUMBER})\s*(?P<unit>[A-Za-z%]*)\s*")


def _split(text: str) -> tuple[Fraction, str] | None:
    """Number and unit; the number as it is written, which a float would round."""
    match = _QUANTITY.fullmatch(text)
    return (Fraction(match["number"]), match["unit"]) if match else None


def parse_size(value: object) -> int:
    """Bytes of ``"128GiB"``. Raises ``ValueError`` for another unit, or for a number without one."""
    parts = _split(value) if isinstance(value, str) else None
    if parts is None or parts[1] not in SIZE_UNITS:
        raise ValueError(f"a size with its unit, such as '128GiB' ({', '.join(SIZE_UNITS)})")
    return int(parts[0] * SIZE_UNITS[parts[1]])


def parse_duration(value: object) -> float:
    """Seconds of ``"15min"``. Raises ``ValueError`` for another unit, for a number without one, and beyond a year."""
    parts = _split(value) if isinstance(value, str) else None
    if parts is None or parts[1] not in TIME_UNITS:
        raise ValueError(f"a time with its unit, such as '15min' ({', '.join(TIME_UNITS)})")
    seconds = float(parts[0] * Fraction(str(TIME_UNITS[parts[1]])))
    if seconds > LONGEST_S:
        raise ValueError("a time of a year at most, such as '15min'")
    return seconds


def parse_share(value: object) -> float:
    """``"90%"`` as 0.9. Raises ``ValueError`` outside of (0 %, 100 %]."""
    parts = _split(value) if isinstance(value, str) else None
    if parts is None or parts[1] != "%" or not 0 < parts[0] <= 100:
        raise ValueError("a share of the RAM above 0% and up to 100%, such as '90%'")
    return float(parts[0] / 100)


def format_size(count: float, digits: int = 1) -> str:
    """``"8.97 GiB"``: the largest binary unit that leaves a number of at least one."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if abs(count) >= SIZE_UNITS[unit]:
            return f"{count / SIZE_UNITS[unit]:.{digits}f} {unit}"
    return f"{count:.0f} B"


def format_duration(seconds: float) -> str:
    """``"0.4 s"``, ``"42 s"``, ``"28 min 10 s"`` or ``"1 h 05 min"``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def exact_size(count: int) -> str:
    """A size as the configuration takes it back, without loss and as short as it can be: ``"128GiB"``."""
    exact = [
        f"{count // factor}{unit}" for unit, factor in SIZE_UNITS.items() if count % factor == 0 and count >= factor
    ]
    return min(exact, key=len) if exact else f"{count}B"


def exact_duration(seconds: float) -> str:
    """A time as the configuration takes it back, without loss, in the largest unit that leaves a whole number."""
    for unit in ("h", "min", "s"):
        if seconds and seconds % TIME_UNITS[unit] == 0:
            return f"{seconds / TIME_UNITS[unit]:.0f}{unit}"
    milliseconds = Decimal(repr(seconds)) * 1000
    return f"{milliseconds.normalize():f}ms"


def check_memory_limit(value: object) -> str:
    """A share or a size, kept as written. Raises ``ValueError`` for anything else."""
    if isinstance(value, str):
        for parse in (parse_share, parse_size):
            try:
                limit = parse(value)
            except ValueError:
                continue
            if limit > 0:
                return value.strip()
    raise ValueError("a share of the RAM such as '90%', or a size above 0 with its unit such as '14GiB'")


def memory_limit_bytes(limit: str, ram_bytes: int) -> int:
    """Bytes of a memory limit on a machine with ``ram_bytes`` of RAM."""
    return int(parse_share(limit) * ram_bytes) if limit.endswith("%") else parse_size(limit)

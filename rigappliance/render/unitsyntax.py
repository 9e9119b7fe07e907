"""Text as systemd reads it in unit files."""

from __future__ import annotations

from rigappliance.errors import ConfigError
from rigappliance.units import parse_share, parse_size


def quoted(word: str) -> str:
    """``word`` as one word of a unit file, with specifiers and quotes taken literally."""
    escaped = single_line(word).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"' if any(character in escaped for character in " \t'\"\\;") else escaped


def argument(word: str) -> str:
    """``word`` as one argument of a command line, where a dollar would otherwise begin a variable."""
    return quoted(word).replace("$", "$$")


def plain(text: str) -> str:
    """``text`` as a whole value that systemd does not split into words."""
    return single_line(text).replace("%", "%%")


def single_line(text: str) -> str:
    """Raises ``ConfigError`` where ``text`` would end a line of the unit."""
    if "\n" in text or "\r" in text:
        raise ConfigError(f"{text!r} has a line break", "text on one line, to fit in a unit file", "change it")
    return text


def memory_max(limit: str) -> str:
    """systemd knows shares of up to two decimals, and sizes in bytes."""
    if not limit.endswith("%"):
        return str(parse_size(limit))
    return f"{parse_share(limit) * 100:.2f}".rstrip("0").rstrip(".") + "%"

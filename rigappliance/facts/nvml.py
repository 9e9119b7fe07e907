"""Asking NVML, the library of the NVIDIA driver, without believing that it answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def ask(nvml: Any, function: str, *arguments: object) -> Any:
    """The answer of one NVML function, or ``None`` where the card, the driver or the binding has none."""
    query: Callable[..., Any] | None = getattr(nvml, function, None)
    if query is None:
        return None
    try:
        return query(*arguments)
    except (nvml.NVMLError, UnicodeDecodeError):
        return None


def as_text(value: object) -> str | None:
    """Older bindings answer with bytes."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value if isinstance(value, str) else None


def as_integer(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None

"""A minimal operation of each distribution with native code, whose result is known. No network, no card.

Every function imports what it needs itself: it runs in the engine's environment, and in a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable

from bench.noavx import ops_cuda, ops_data, ops_kernels, ops_network, ops_numbers, ops_text

OPERATIONS: dict[str, Callable[[], None]] = {
    name.replace("_", "-"): function
    for part in (ops_cuda, ops_data, ops_kernels, ops_network, ops_numbers, ops_text)
    for name, function in vars(part).items()
    if callable(function) and getattr(function, "__module__", "") == part.__name__ and not name.startswith("_")
}

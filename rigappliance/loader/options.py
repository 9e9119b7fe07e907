"""What `--model-loader-extra-config` may hold for this load format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .memory import MIB

DEFAULT_STALL_S = 60.0


@dataclass(frozen=True)
class Options:
    """``window_bytes`` and ``drop_behind`` are chosen by the memory that is free where they are ``None``."""

    window_bytes: int | None = None
    stall_s: float = DEFAULT_STALL_S
    drop_behind: bool | None = None

    @classmethod
    def parse(cls, extra: Any) -> Options:
        """Of `--model-loader-extra-config`. Raises ``ValueError``."""
        if not isinstance(extra, dict):
            raise ValueError(f"model_loader_extra_config must be an object, found {type(extra).__name__}")
        unknown = sorted(extra.keys() - {"window_bytes", "stall_s", "drop_behind"})
        if unknown:
            raise ValueError(
                f"model_loader_extra_config of load format sequential has unknown keys: {', '.join(unknown)}"
            )
        window, stall, drop = extra.get("window_bytes"), extra.get("stall_s", DEFAULT_STALL_S), extra.get("drop_behind")
        if window is not None and (isinstance(window, bool) or not isinstance(window, int) or window < MIB):
            raise ValueError(f"window_bytes must be an integer of 1048576 or more, found {window!r}")
        if isinstance(stall, bool) or not isinstance(stall, int | float) or not 0 < stall < 86400:
            raise ValueError(f"stall_s must be a number of seconds above 0, found {stall!r}")
        if drop is not None and not isinstance(drop, bool):
            raise ValueError(f"drop_behind must be true or false, found {drop!r}")
        return cls(window, float(stall), drop)

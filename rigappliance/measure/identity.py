"""What a run was measured on: which runs it compares with, and what else may differ between them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict

from rigappliance.config import RigConfig
from rigappliance.facts.gpu import read_gpu_facts
from rigappliance.facts.host import HostFacts
from rigappliance.launch.history import Key


def run_key(start: Key, config: RigConfig) -> dict[str, str]:
    """As for starts, and the cards."""
    kinds: dict[str, int] = {}
    if config.engine.device == "cuda":
        for card in read_gpu_facts().cards:
            kinds[card.name or "unknown"] = kinds.get(card.name or "unknown", 0) + 1
    cards = ", ".join(f"{count} x {name}" for name, count in sorted(kinds.items()))
    return {**asdict(start), "cards": cards or "none"}


def run_settings(config: RigConfig, host: HostFacts) -> dict[str, str]:
    """Every key of the engine's section, kernel and driver. A run may be made to see what one of them does."""
    engine = config.engine.model_dump(mode="json", exclude={"python", "environment"})
    found = {f"engine.{name}": str(value) for name, value in engine.items()}
    # A variable may hold a secret, and runs are passed on.
    for name, value in config.engine.environment.items():
        found[f"engine.environment.{name}"] = f"digest {hashlib.sha256(value.encode()).hexdigest()[:8]}"
    found["kernel"] = host.kernel or "unknown"
    if config.engine.device == "cuda":
        found["driver"] = read_gpu_facts().driver_version or "unknown"
    return found


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """``"kernel: 6.1.0, was 6.0.9"``, for each that differs."""
    names = sorted({*before, *now})
    return [
        f"{name}: {now.get(name, 'not set')}, was {before.get(name, 'not set')}"
        for name in names
        if before.get(name) != now.get(name)
    ]

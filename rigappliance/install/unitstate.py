"""What systemd says of units."""

from __future__ import annotations

from collections.abc import Iterable

from rigappliance.install.host import Host


def active_units(host: Host, names: Iterable[str]) -> frozenset[str]:
    """Those of ``names`` that run or are about to; none where systemd does not run."""
    asked = sorted(names)
    if not asked or not host.runs_systemd:
        return frozenset()
    # A line a unit, in the order of the question; its exit status is about all of them together.
    states = host.run(("systemctl", "is-active", *asked)).output.split()
    return frozenset(
        name for name, state in zip(asked, states, strict=False) if state in ("active", "activating", "reloading")
    )

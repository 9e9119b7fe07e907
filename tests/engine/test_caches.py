"""The real engine's caches: kept by one start, damaged, named and made anew by the next."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rigappliance.caches.bundle import sealed
from rigappliance.caches.tree import verify
from rigappliance.errors import PreflightError
from tests.engine.launching import NOTHING, EngineHome, Launch
from tests.faults import record
from tests.standin import wait_until

pytestmark = pytest.mark.engine


def whole(active: Path) -> bool:
    """Whether every file is vouched for, and as it was then."""
    try:
        manifest = sealed(active)
    except PreflightError:
        return False
    verdict = verify(active, manifest, digest_limit_bytes=manifest.size_bytes)
    return not verdict.damages and not verdict.stray


def test_a_flipped_byte_in_a_kept_library_is_named_and_never_run(
    home: EngineHome, launch: Callable[..., Launch]
) -> None:
    """One start, and another before it where this test runs alone."""
    active = home.state_dir / "cache"
    if not (active / "manifest.json").exists():
        filling = launch()
        filling.wait_ready()
        assert filling.stop() == 0
    assert whole(active)
    library = max(active.rglob("*.main.so"), key=lambda path: path.stat().st_size)
    content = bytearray(library.read_bytes())
    content[len(content) // 2] ^= 0xFF
    library.write_bytes(content)

    one = launch()
    one.wait_ready()
    line = next(line for line in one.errors().splitlines() if "another content" in line)
    assert str(library.relative_to(active)) in line
    assert "moved to" in line
    aside = active / "aside"
    assert (aside / library.relative_to(active)).read_bytes() == content
    # The seal follows readiness.
    wait_until(lambda: whole(active))
    assert one.stop() == 0
    assert one.leftovers() == NOTHING
    assert whole(active)
    again = active / library.relative_to(active)
    assert again.exists() and again.read_bytes() != bytes(content)
    record(
        "a kept library with a flipped byte",
        cause="caches (before the start)",
        evidence=line.removeprefix("rigappliance: "),
        decision="moved aside; the start compiles anew",
        seconds=None,
    )

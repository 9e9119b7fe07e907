"""Whole launches of the stand-in, and what becomes of the caches around them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rigappliance.caches.keep import seal
from rigappliance.caches.manifest import Manifest, read_manifest
from tests.unit.caches.filled import CONTENT, DURATIONS, KERNEL, fill, found, identity
from tests.unit.launch.processes import wait_until
from tests.unit.launch.rig import LIMIT_S, Rig, make_engine


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("engine")
    make_engine(directory)
    return directory


@pytest.fixture
def rig(tmp_path: Path, engine: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path, engine)
    yield rig
    rig.end()


def kept(rig: Rig) -> Manifest:
    manifest = read_manifest(rig.root / "state/cache")
    assert manifest is not None
    return manifest


def test_damage_goes_before_the_start_and_what_came_is_sealed_when_it_is_ready_and_at_its_end(rig: Rig) -> None:
    state = rig.root / "state"
    fill(state)
    seal(state, identity(), DURATIONS)
    (state / "cache" / KERNEL).write_bytes(b"?" * len(CONTENT[KERNEL]))
    process = rig.start("launch")
    rig.wait_ready(process)
    assert f"{KERNEL} has another content" in rig.errors()
    assert "nothing is kept for this start (" in rig.errors()
    assert wait_until(lambda: kept(rig).identity.fields.get("device") == "cpu", LIMIT_S)
    ready = kept(rig)
    assert set(ready.last_s) >= {"weights", "compile"}
    fill(state, {"triton/late": b"late"})
    os.utime(state / "cache/triton/late", (1e9, 1e9))
    assert rig.stop(process) == 0
    there = found(state)
    assert KERNEL not in there
    assert there.keys() >= CONTENT.keys() - {KERNEL}
    assert there.keys() == kept(rig).files.keys()
    assert kept(rig).files["triton/late"].setup == kept(rig).identity.setup
    assert kept(rig).last_s == ready.last_s


def test_warm_starts_and_stops_and_tells_what_is_kept(rig: Rig) -> None:
    state = rig.root / "state"
    fill(state)
    seal(state, identity(), DURATIONS)
    assert rig.run("warm", "--plain") == 0, rig.errors("warm")
    told = rig.output("warm")
    assert "compile  " in told
    count = len(found(state))
    assert count > len(CONTENT)
    assert f"kept: {count} files" in told
    assert kept(rig).identity.fields["device"] == "cpu"

"""What goes when nobody uses it, and what never does."""

from __future__ import annotations

import errno
import time
from dataclasses import replace
from pathlib import Path

import pytest

from rigappliance.caches import prune as module
from rigappliance.caches.keep import prepare, seal
from rigappliance.caches.keeper import Keeper
from rigappliance.caches.manifest import Manifest, read_manifest, write_manifest
from rigappliance.caches.prune import UNUSED_S, prune
from rigappliance.caches.tree import ACCESS_STEP_NS
from tests.unit.caches.filled import DURATIONS, fill, found, identity

DAY_S = 24 * 3600.0
SIZE = 1000


def name_of(seqs: int) -> str:
    return f"vllm/{seqs}/model"


def kept(state: Path) -> Manifest:
    manifest = read_manifest(state / "cache")
    assert manifest is not None
    return manifest


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Three setups, each of which made a file; that of 32 requests was started last, now, and the others before."""
    now = time.time()
    for seqs in (8, 16, 32):
        fill(tmp_path, {name_of(seqs): b"x" * SIZE})
        seal(tmp_path, identity(seqs=str(seqs)), DURATIONS, since_ns=time.time_ns() + 2 * ACCESS_STEP_NS)
    ages_s = {identity(seqs=str(seqs)).setup: age_s for seqs, age_s in ((8, 20 * DAY_S), (16, 10 * DAY_S), (32, 0.0))}
    manifest = kept(tmp_path)
    setups = {key: replace(setup, used=now - ages_s[key]) for key, setup in manifest.setups.items()}
    write_manifest(tmp_path / "cache", replace(manifest, setups=setups))
    return tmp_path


def test_what_is_used_and_small_stays(state: Path) -> None:
    before = kept(state)
    assert prune(state) == []
    assert kept(state) == before
    assert len(found(state)) == 3


def test_what_no_start_used_for_long_goes(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "access_times_are_kept", lambda directory: True)
    (line,) = prune(state, unused_s=15 * DAY_S)
    assert "vLLM 0.32.0" in line and "unused since" in line
    assert set(found(state)) == {name_of(16), name_of(32)}
    assert prepare(state, identity(seqs="32")) == []
    assert identity(seqs="8").setup not in kept(state).setups


def test_where_readings_leave_no_time_age_says_nothing(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "access_times_are_kept", lambda directory: False)
    assert prune(state, unused_s=0.0) == []
    assert len(found(state)) == 3


def test_beyond_the_limit_the_oldest_go_and_the_last_start_keeps_its_own(state: Path) -> None:
    (line,) = prune(state, limit_bytes=2 * SIZE)
    assert "last used on" in line and "more than" in line
    assert set(found(state)) == {name_of(16), name_of(32)}
    assert len(prune(state, limit_bytes=0)) == 1
    assert set(found(state)) == {name_of(32)}
    assert prune(state, limit_bytes=0) == []


def test_a_setup_whose_files_another_used_since_is_known_for_a_month(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the next start of it would be said to compile."""
    seal(state, identity(seqs="32"), DURATIONS)
    assert {record.setup for record in kept(state).files.values()} == {identity(seqs="32").setup}
    prune(state)
    assert prepare(state, identity(seqs="8")) == []
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 31 * DAY_S)
    prune(state)
    assert kept(state).setups.keys() == {identity(seqs="32").setup}
    assert len(found(state)) == 3


def test_a_disk_that_is_full_loses_nothing_and_says_so(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(directory: Path, manifest: Manifest) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "write_manifest", write)
    with pytest.raises(OSError, match="No space left"):
        prune(state, limit_bytes=0)
    assert len(found(state)) == 3


def test_a_month_is_enough_to_go_back() -> None:
    assert UNUSED_S == 30 * DAY_S


def test_a_launch_prunes_when_it_is_ready_and_not_before(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "access_times_are_kept", lambda directory: True)
    manifest = kept(state)
    old = {key: replace(setup, used=setup.used - 2 * UNUSED_S) for key, setup in manifest.setups.items()}
    write_manifest(state / "cache", replace(manifest, setups=old))
    lines: list[str] = []
    keeper = Keeper(state, identity(seqs="32"), lines.append)
    keeper.started_ns += 2 * ACCESS_STEP_NS
    keeper.before()
    assert (lines, len(found(state))) == ([], 3)
    keeper.ready(DURATIONS)
    assert len(lines) == 2
    assert set(found(state)) == {name_of(32)}

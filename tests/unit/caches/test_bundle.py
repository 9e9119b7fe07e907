"""Caches as a file: what a sibling takes, and what it refuses."""

from __future__ import annotations

import errno
import gzip
import io
import json
import tarfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rigappliance.caches import bundle
from rigappliance.caches.bundle import BundleError, export, take
from rigappliance.caches.keep import prepare, seal
from rigappliance.caches.manifest import read_manifest
from rigappliance.caches.tree import ACCESS_STEP_NS
from rigappliance.errors import PreflightError
from tests.unit.caches.filled import CONTENT, DURATIONS, KERNEL, MODEL, fill, found, identity

# Directories may stay.
EMPTIED = sorted({"cache", *(f"cache/{parent}" for name in CONTENT for parent in list(Path(name).parents)[:-1])})
PEERS = "vllm/gpu_p2p_access_cache_for_0,1.json"


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """The file that one rig exports."""
    fill(tmp_path / "one", {**CONTENT, PEERS: b"{}"})
    seal(tmp_path / "one", identity(), DURATIONS)
    export(tmp_path / "one", tmp_path / "caches.tar.gz")
    return tmp_path / "caches.tar.gz"


def listing(state_dir: Path) -> list[str]:
    return sorted(str(path.relative_to(state_dir)) for path in state_dir.rglob("*"))


def test_a_sibling_starts_with_them(made: Path, tmp_path: Path) -> None:
    taken = take(made, tmp_path / "two", identity())
    assert (taken.files, taken.other, taken.manifest.filled_s) == (len(CONTENT), [], DURATIONS)
    prepare(tmp_path / "two", identity())
    # Which cards reach each other directly is found out on each rig.
    assert found(tmp_path / "two") == CONTENT
    assert prepare(tmp_path / "two", identity()) == []


@pytest.mark.parametrize("field", ["engine", "model", "layout", "cards", "driver"])
def test_another_rig_is_refused_with_what_differs(field: str, made: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError) as raised:
        take(made, tmp_path / "two", identity(**{field: "another"}))
    assert f"{field} {identity().fields.get(field, 'unknown')}" in raised.value.found
    assert f"{field} another" in raised.value.expected
    assert listing(tmp_path / "two") == []


def rewritten(made: Path, change: Callable[[list[tuple[tarfile.TarInfo, bytes]]], None]) -> Path:
    with tarfile.open(made) as archive:
        entries = [(entry, (archive.extractfile(entry) or io.BytesIO()).read()) for entry in archive]
    change(entries)
    with tarfile.open(made, "w:gz") as archive:
        for entry, data in entries:
            archive.addfile(entry, io.BytesIO(data) if entry.isreg() else None)
    return made


def index(entries: list[tuple[tarfile.TarInfo, bytes]], name: str) -> int:
    return next(i for i, (entry, _) in enumerate(entries) if entry.name == name)


def another_content(entries: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    entry, data = entries[index(entries, KERNEL)]
    entries[index(entries, KERNEL)] = (entry, data[:-1] + b"?")


def another_size(entries: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    entry, data = entries[index(entries, KERNEL)]
    entry.size += 1
    entries[index(entries, KERNEL)] = (entry, data + b"?")


def named(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> Callable[[list[Any]], None]:
    def change(entries: list[Any]) -> None:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = kind, target
        entries.insert(1, (entry, b""))

    return change


def in_manifest(name: str) -> Callable[[list[Any]], None]:
    """The manifest names it too."""

    def change(entries: list[Any]) -> None:
        entry, data = entries[0]
        tree = json.loads(data)
        tree["files"][name] = next(iter(tree["files"].values())) | {"size_bytes": 0, "sha256": "0" * 64}
        text = json.dumps(tree).encode()
        entry.size = len(text)
        entries[0] = (entry, text)
        named(name)(entries)

    return change


UNNAMED = "does not name as a file"
REFUSED: dict[str, tuple[Callable[[list[Any]], None], str]] = {
    "another content": (another_content, "its digest is not"),
    "another size": (another_size, "bytes of"),
    "a file less": (lambda entries: entries.pop(index(entries, MODEL)), "lacks"),
    "a file twice": (lambda entries: entries.append(entries[index(entries, KERNEL)]), UNNAMED),
    "a file that no manifest names": (named("vllm/extra"), UNNAMED),
    "a name that leads out": (named("../../outside"), "outside the destination"),
    "an absolute name": (named("/tmp/outside"), UNNAMED),
    "a link in the place of a file": (named(KERNEL, tarfile.SYMTYPE, "other"), UNNAMED),
    "a link that leads out": (named(KERNEL, tarfile.SYMTYPE, "/etc/passwd"), "absolute path"),
    "a link in the place of a directory": (named("triton", tarfile.SYMTYPE, "vllm"), UNNAMED),
    "a hard link": (named(KERNEL, tarfile.LNKTYPE, "manifest.json"), UNNAMED),
    "a device": (named(KERNEL, tarfile.CHRTYPE), "special file"),
    "a manifest that leads out": (in_manifest("vllm/../../outside"), "no file of a cache"),
    "a manifest with an absolute name": (in_manifest("/tmp/outside"), "no file of a cache"),
    "a manifest that names another directory": (in_manifest("manifest.json"), "no file of a cache"),
    "no manifest": (lambda entries: entries.pop(0), "no manifest at its beginning"),
    "more behind its end": (lambda entries: None, "goes on after its end"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_as_it_was_exported_changes_nothing(name: str, made: Path, tmp_path: Path) -> None:
    change, why = REFUSED[name]
    rewritten(made, change)
    if name == "more behind its end":
        made.write_bytes(made.read_bytes() + gzip.compress(b"x" * bundle.TAIL_BYTES))
    before = listing(tmp_path)
    with pytest.raises(BundleError, match=why):
        take(made, tmp_path / "two", identity())
    # An empty directory for the next one may stay.
    assert [each for each in listing(tmp_path) if not each.startswith("two")] == before
    assert set(listing(tmp_path / "two")) <= {"cache"}


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9])
def test_a_file_that_ends_too_soon_is_refused(share: float, made: Path, tmp_path: Path) -> None:
    content = made.read_bytes()
    made.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(BundleError):
        take(made, tmp_path / "two", identity())
    assert set(listing(tmp_path / "two")) <= {"cache"}


@pytest.mark.parametrize("content", [b"no archive", gzip.compress(b"no archive"), b"\x1f\x8b"])
def test_another_file_is_refused(content: bytes, made: Path, tmp_path: Path) -> None:
    made.write_bytes(content)
    with pytest.raises(BundleError, match=r"caches\.tar\.gz"):
        take(made, tmp_path / "two", identity())


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="No such file"):
        take(tmp_path / "none", tmp_path / "two", identity())


def test_every_flipped_byte_is_refused_or_harmless(made: Path, tmp_path: Path) -> None:
    """Not every byte of an archive matters, but none may become another content."""
    content = made.read_bytes()
    refused = 0
    for place in range(0, len(content), 29):
        flipped = bytearray(content)
        flipped[place] ^= 0x41
        made.write_bytes(bytes(flipped))
        state = tmp_path / f"flipped-{place}"
        try:
            take(made, state, identity())
        except PreflightError:
            refused += 1
            continue
        prepare(state, identity())
        assert found(state) == CONTENT, place
    assert refused > 10


def test_what_is_here_stays_and_what_is_missing_comes_beside_it(made: Path, tmp_path: Path) -> None:
    two = tmp_path / "two"
    fill(two, {MODEL: b"own", "vllm/own": b"own"})
    seal(two, identity(), {"compile": 3.0})
    assert take(made, two, identity()).files == len(CONTENT) - 1
    assert found(two) == {**CONTENT, MODEL: b"own", "vllm/own": b"own"}
    assert prepare(two, identity()) == []
    assert take(made, two, identity()).files == 0
    (two / "cache" / MODEL).write_bytes(b"bad")
    # What may name the damaged file goes with it.
    assert take(made, two, identity()).files == 1
    assert found(two) == {**CONTENT, "vllm/own": b"own"}


def test_a_bad_file_leaves_what_is_here(made: Path, tmp_path: Path) -> None:
    take(made, tmp_path / "two", identity())
    before = listing(tmp_path / "two")
    rewritten(made, another_content)
    with pytest.raises(BundleError):
        take(made, tmp_path / "two", identity())
    assert listing(tmp_path / "two") == before
    assert found(tmp_path / "two") == CONTENT


def test_another_option_there_is_told_and_taken(made: Path, tmp_path: Path) -> None:
    taken = take(made, tmp_path / "two", identity(seqs="16"))
    assert [str(each) for each in taken.other] == ["max_num_seqs is 32 and not 16"]
    assert found(tmp_path / "two") == CONTENT


def test_what_came_lately_is_not_old_here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 9e9)
    take(made, tmp_path / "two", identity())
    kept = read_manifest(tmp_path / "two/cache")
    assert kept is not None
    assert [setup.used for setup in kept.setups.values()] == [9e9]


def test_of_an_engine_that_was_left_nothing_is_exported(tmp_path: Path) -> None:
    fill(tmp_path, {"vllm/old": b"old"})
    seal(tmp_path, identity(engine="0.31.0"), DURATIONS)
    fill(tmp_path, {"vllm/new": b"new"})
    seal(tmp_path, identity(), DURATIONS, since_ns=time.time_ns() + 2 * ACCESS_STEP_NS)
    assert set(export(tmp_path, tmp_path / "out.tar.gz").files) == {"vllm/new"}


def test_a_disk_that_fills_up_leaves_nothing(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_manifest(directory: Path, manifest: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(bundle, "write_manifest", write_manifest)
    with pytest.raises(PreflightError, match="No space left on device"):
        take(made, tmp_path / "two", identity())
    assert listing(tmp_path / "two") == EMPTIED


def test_only_what_is_sealed_and_whole_is_exported(tmp_path: Path) -> None:
    fill(tmp_path)
    with pytest.raises(PreflightError, match="nothing is kept"):
        export(tmp_path, tmp_path / "out.tar.gz")
    seal(tmp_path, identity(), DURATIONS)
    fill(tmp_path, {KERNEL: b"damaged"})
    with pytest.raises(PreflightError, match=f"damaged .{KERNEL} has"):
        export(tmp_path, tmp_path / "out.tar.gz")
    assert not list(tmp_path.glob("*out.tar.gz*"))


def test_an_export_does_not_change_with_the_host_that_makes_it(made: Path) -> None:
    with tarfile.open(made) as archive:
        entries = archive.getmembers()
    assert entries[0].name == "manifest.json"
    assert {(entry.uid, entry.gid, entry.uname, entry.mode) for entry in entries} == {(0, 0, "", 0o644)}
    assert PEERS not in [entry.name for entry in entries]


def test_the_place_of_a_rig_counts(made: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="model path /a"):
        elsewhere = replace(identity(), fields={**identity().fields, "model path": "/b"})
        fill(tmp_path / "three")
        seal(tmp_path / "three", identity(**{"model path": "/a"}), DURATIONS)
        export(tmp_path / "three", made)
        take(made, tmp_path / "two", elsewhere)

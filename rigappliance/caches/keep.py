"""Around a start: what is left where the engine looks, and what is kept of it once it is ready."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from rigappliance.caches.identity import Difference, Identity
from rigappliance.caches.manifest import NAME, Manifest, NoManifestError, Setup, read_manifest, write_manifest
from rigappliance.caches.store import Store, remove
from rigappliance.caches.tree import PARTS, Damage, record_files, unit_of, verify
from rigappliance.preflight.finding import counted
from rigappliance.units import format_size

# The engine's profiled size of the KV cache, where VLLM_ENABLE_STARTUP_PLAN has it kept. Its own key of that (0.32.0,
# v1/worker/startup_plan.py) lacks the share of the card's memory, among others: after a start that failed for too large
# a share, a lower one would get the same size.
PLANS = "vllm/startup_plan"
SHARE = "gpu_memory_utilization"


def prepare(state_dir: Path, identity: Identity) -> list[str]:
    """Leave in ``cache/`` only what is vouched for; returns what the operator should know.

    To be called before each start, by the holder of the state directory's lock.  Costs a look at every file, and
    reading up to 1 GiB of them, of which the engine reads its share next anyway.  What was made for other setups stays:
    the engine finds its own.  Raises ``PreflightError`` where there is no place for caches, and where damaged content
    cannot be moved out of the way.
    """
    store = Store(state_dir)
    store.make()
    lines: list[str] = []
    manifest = known(store, lines)
    if manifest:
        manifest = checked(store, manifest, lines)
    if manifest:
        lines += news(manifest, identity)
        if manifest.identity != identity and (store.active / PLANS).exists():
            remove(store.active / PLANS)
            lines.append("caches: the profiled size of the KV cache is of other options; profiled anew")
    return lines


def seal(
    state_dir: Path,
    identity: Identity,
    durations_s: Mapping[str, float],
    *,
    since_ns: int = 0,
    until_ns: int | None = None,
) -> Manifest:
    """Vouch for what lies in ``cache/`` now, for a start that took ``durations_s`` by phase until it was ready.

    ``since_ns``: when that start began; what it did not use is left to whose it was.  ``until_ns``: only for what was
    written until then.  Raises ``OSError``: without a new manifest the next start takes nothing that this one wrote.
    """
    store = Store(state_dir)
    try:
        old = read_manifest(store.active)
    except NoManifestError:
        old = None
    same = old if old and old.identity == identity else None
    files = record_files(store.active, old.files if old else {}, identity.setup, since_ns, until_ns)
    durations = dict(durations_s) or (dict(same.last_s) if same else {})
    setups = dict(old.setups) if old else {}
    earlier = setups.get(identity.setup)
    filled = (dict(earlier.first_s) if earlier else {}) or durations
    setups[identity.setup] = Setup(identity.key, identity.name, time.time(), filled)
    manifest = Manifest(identity, time.time(), files, setups, filled, durations)
    write_manifest(store.active, manifest)
    return manifest


def known(store: Store, lines: list[str]) -> Manifest | None:
    """The active cache's manifest; without one that makes sense its content is moved aside."""
    try:
        manifest = read_manifest(store.active)
        why = "left by a start that never got ready"
    except NoManifestError as error:
        manifest = None
        why = f"its manifest {error}"
        remove(store.active / NAME)
    if manifest is None and (parts := store.parts()):
        lines.append(store.set_aside(parts, why))
    return manifest


def checked(store: Store, manifest: Manifest, lines: list[str]) -> Manifest | None:
    """What is left of the active cache when damaged units and unknown files are gone; ``None`` where nothing is."""
    verdict = verify(store.active, manifest)
    # A part that is a link is not followed: the link itself goes.
    links = {name for name in PARTS if (store.active / name).is_symlink()}
    damaged = {damage.part if damage.part in links else damage.unit for damage in verdict.damages}
    if verdict.damages:
        paths = [path for name in sorted(damaged) if (path := store.active / name).is_symlink() or path.exists()]
        why = in_words(verdict.damages)
        lines.append(store.set_aside(paths, why) if paths else f"cache {', '.join(sorted(damaged))}: {why}; made anew")
    stray = [name for name in verdict.stray if not within(name, damaged)]
    for name in stray:
        remove(store.active / name)
    if stray:
        lines.append(f"removed {counted(len(stray), 'file')} that a start without a proper end left in the caches")
    if not damaged:
        return manifest
    rest = {name: record for name, record in manifest.files.items() if not within(name, damaged)}
    left = replace(manifest, files=rest, filled_s={}, last_s={})
    try:
        write_manifest(store.active, left)
    except OSError:
        # A disk without room: the next look finds the same, and says it again.
        lines.append("the caches' manifest cannot be written")
    return left


def within(name: str, units: set[str]) -> bool:
    return unit_of(name) in units or name.partition("/")[0] in units


def in_words(damages: tuple[Damage, ...]) -> str:
    first = damages[0]
    more = f", and {counted(len(damages) - 1, 'more file')}" if len(damages) > 1 else ""
    return f"damaged ({first.file} {first.what}{more})"


def news(manifest: Manifest, identity: Identity) -> list[str]:
    """That this start will compile, and why, where the last one was another."""
    if identity.setup in manifest.setups:
        return []
    if any(setup.key == identity.key for setup in manifest.setups.values()):
        changed = [each for each in identity.other_settings(manifest.identity) if each.field != SHARE]
        return [f"caches: {first_of(changed)}: the engine may compile anew"] if changed else []
    changed = identity.differences(manifest.identity)
    return [f"caches: nothing is kept for this start ({first_of(changed)}): the engine compiles"] if changed else []


def first_of(changed: list[Difference]) -> str:
    first, *rest = changed
    return f"{first}{f', and {len(rest)} more' if rest else ''}"


def when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def describe(manifest: Manifest) -> str:
    """Such as ``212 files, 48.1 MiB``."""
    return f"{counted(len(manifest.files), 'file')}, {format_size(manifest.size_bytes)}"

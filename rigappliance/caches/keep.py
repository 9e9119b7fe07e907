"""Around a start: what is left where the engine looks, and what is kept of it once it is ready."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from rigappliance.caches.identity import Identity
from rigappliance.caches.manifest import NAME, Manifest, NoManifestError, read_manifest, write_manifest
from rigappliance.caches.store import Store, remove
from rigappliance.caches.tree import Damage, record_files, verify
from rigappliance.preflight.finding import counted
from rigappliance.units import format_size

# The engine's profiled size of the KV cache, which holds for one share of the card's memory.
STARTUP_PLAN = "vllm/startup_plan"


def prepare(state_dir: Path, identity: Identity) -> list[str]:
    """Leave in ``cache/`` only what is vouched for and made for ``identity``; returns what the operator should know.

    To be called before each start, by the holder of the state directory's lock.  Costs a look at every file, and
    reading up to 1 GiB of them, which the engine reads next anyway.  Raises ``PreflightError`` where damaged content
    cannot be moved out of the way.
    """
    store = Store(state_dir)
    lines: list[str] = []
    manifest = known(store, lines)
    if manifest and manifest.key != identity.key:
        lines.append(f"the caches are for another start ({why_other(manifest, identity)}); kept as {manifest.key}")
        store.put_away(manifest)
        manifest = None
    if manifest is None and (manifest := store.bring_in(identity.key)):
        lines.append(f"caches of {when(manifest)} taken out again: {identity.key}")
    if manifest:
        manifest = checked(store, manifest, lines)
    if manifest and manifest.identity.memory != identity.memory and (store.active / STARTUP_PLAN).exists():
        remove(store.active / STARTUP_PLAN)
        lines.append("the profiled size of the KV cache was for another gpu_memory_utilization; profiled anew")
    lines += store.prune()
    with suppress(OSError):
        store.active.mkdir(parents=True, exist_ok=True)
        store.marker.write_text(json.dumps({"pid": os.getpid(), "started": time.time()}))
    return lines


def seal(
    state_dir: Path, identity: Identity, durations_s: Mapping[str, float], until_ns: int | None = None
) -> Manifest:
    """Vouch for what lies in ``cache/`` now, for a start that took ``durations_s`` by phase until it was ready.

    ``until_ns``: only for what was written until then.  Raises ``OSError``: without a new manifest the next start
    takes nothing that this one wrote.
    """
    store = Store(state_dir)
    try:
        old = read_manifest(store.active)
    except NoManifestError:
        old = None
    if old and old.key != identity.key:
        old = None
    files = record_files(store.active, old.files if old else {}, until_ns)
    durations = dict(durations_s) or (dict(old.last_s) if old else {})
    filled = dict(old.filled_s) if old and old.files else durations
    manifest = Manifest(identity, time.time(), files, filled, durations)
    write_manifest(store.active, manifest)
    store.marker.unlink(missing_ok=True)
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
    """What is left of the active cache when damaged parts and unknown files are gone; ``None`` where nothing is."""
    verdict = verify(store.active, manifest)
    damaged = {damage.part for damage in verdict.damages}
    if verdict.damages:
        paths = [path for name in sorted(damaged) if (path := store.active / name).is_symlink() or path.exists()]
        why = in_words(verdict.damages)
        lines.append(store.set_aside(paths, why) if paths else f"cache {', '.join(sorted(damaged))}: {why}; made anew")
    stray = [name for name in verdict.stray if name.partition("/")[0] not in damaged]
    for name in stray:
        remove(store.active / name)
    if stray:
        lines.append(f"removed {counted(len(stray), 'file')} that a start without a proper end left in the caches")
    if not damaged:
        return manifest
    rest = {name: record for name, record in manifest.files.items() if name.partition("/")[0] not in damaged}
    left = Manifest(manifest.identity, manifest.made, rest, {}, {})
    try:
        write_manifest(store.active, left)
    except OSError:
        # A disk without room: the next look finds the same, and says it again.
        lines.append("the caches' manifest cannot be written")
    return left


def in_words(damages: tuple[Damage, ...]) -> str:
    first = damages[0]
    more = f", and {counted(len(damages) - 1, 'more file')}" if len(damages) > 1 else ""
    return f"damaged ({first.file} {first.what}{more})"


def why_other(manifest: Manifest, identity: Identity) -> str:
    first, *rest = manifest.identity.differences(identity)
    return f"{first}{f', and {len(rest)} more' if rest else ''}"


def when(manifest: Manifest) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(manifest.made))


def describe(manifest: Manifest) -> str:
    """Such as ``212 files, 48.1 MiB``."""
    return f"{counted(len(manifest.files), 'file')}, {format_size(manifest.size_bytes)}"

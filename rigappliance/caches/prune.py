"""What nobody uses any more goes, after a start and never before one."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from rigappliance.caches.manifest import Manifest, read_manifest, write_manifest
from rigappliance.caches.store import Store
from rigappliance.units import format_size

# Time to go back to an engine, a model or an option that was left.
UNUSED_S = 30 * 24 * 3600.0
# Four setups of a 72B model, and some room; the disk holds its checkpoint of 77 GB anyway.
LIMIT_BYTES = 4 << 30


def prune(state_dir: Path, limit_bytes: int = LIMIT_BYTES, unused_s: float = UNUSED_S) -> list[str]:
    """Remove what belongs to setups that were not started for ``unused_s``, and the oldest beyond ``limit_bytes``.

    What the last start used stays, however much it is.  Returns a line for each setup.  Raises ``OSError`` where the
    manifest cannot be written, and ``NoManifestError``.
    """
    store = Store(state_dir)
    manifest = read_manifest(store.active)
    if manifest is None:
        return []
    if not access_times_are_kept(store.active):
        # Nobody knows what one setup shares with another, that is used.
        unused_s = float("inf")
    now = time.time()
    lines, gone = chosen(manifest, limit_bytes, now - unused_s)
    files = {name: record for name, record in manifest.files.items() if record.setup not in gone}
    owners = {record.setup for record in files.values()} | {manifest.identity.setup}
    # One whose files another has used since is still known: its next start compiles nothing.
    known = {key for key, setup in manifest.setups.items() if key not in gone and setup.used >= now - UNUSED_S}
    setups = {key: setup for key, setup in manifest.setups.items() if key in owners | known}
    if setups == manifest.setups:
        return []
    # First the names, then the files: what is left in between is nobody's, and the next start removes it.
    write_manifest(store.active, replace(manifest, files=files, setups=setups))
    for name in manifest.files.keys() - files.keys():
        with suppress(OSError):
            (store.active / name).unlink(missing_ok=True)
    return lines


def chosen(manifest: Manifest, limit_bytes: int, before: float) -> tuple[list[str], set[str]]:
    """Lines, and the setups whose files go: those last used ``before``, then the oldest until the rest is in limits."""
    sizes: dict[str, int] = {}
    for record in manifest.files.values():
        sizes[record.setup] = sizes.get(record.setup, 0) + record.size_bytes
    total = sum(sizes.values())
    lines, gone = [], set()
    for key, setup in sorted(manifest.setups.items(), key=lambda item: item[1].used):
        old = setup.used < before
        if key == manifest.identity.setup or key not in sizes or not (old or total > limit_bytes):
            continue
        gone.add(key)
        total -= sizes[key]
        since = time.strftime("%Y-%m-%d", time.localtime(setup.used))
        why = (
            f"unused since {since}"
            if old
            else f"last used on {since}, and more than {format_size(limit_bytes)} is kept"
        )
        lines.append(f"caches of {setup.name} removed ({format_size(sizes[key])}): {why}")
    return lines, gone


def access_times_are_kept(directory: Path) -> bool:
    return not os.statvfs(directory).f_flag & os.ST_NOATIME

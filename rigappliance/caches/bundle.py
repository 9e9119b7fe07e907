"""A cache as one file, for rigs that are built alike.

A gzipped tar archive: the manifest first, then its files.  It holds code that the engine will run: take one only from
whom you would take the engine itself.  Digests tell damage, not forgery.
"""

from __future__ import annotations

import errno
import fnmatch
import gzip
import hashlib
import io
import shutil
import tarfile
import time
import zlib
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from rigappliance.caches.identity import Difference, Identity
from rigappliance.caches.keep import in_words, prepare
from rigappliance.caches.manifest import (
    LIMIT_BYTES,
    NAME,
    FileRecord,
    Manifest,
    NoManifestError,
    manifest_from,
    read_manifest,
    write_manifest,
)
from rigappliance.caches.store import Store, move, remove
from rigappliance.caches.tree import BLOCK_BYTES, verify
from rigappliance.errors import PreflightError

# Which cards reach each other directly is a matter of slots and of the board, and no two rigs need to agree in it.
NOT_SHIPPED = ("vllm/gpu_p2p_access_cache_for_*",)
# Zeros to the end of a record, and not more.
TAIL_BYTES = 1 << 20
UNREADABLE = (tarfile.TarError, EOFError, zlib.error, OSError)


class BundleError(PreflightError):
    """A file that is not taken."""


def export(state_dir: Path, target: Path) -> Manifest:
    """Write the sealed cache into ``target``, in one step, and return what is in it.

    Raises ``PreflightError`` where there is none, where it is damaged, and where the file cannot be written.
    """
    active = Store(state_dir).active
    manifest = sealed(active)
    verdict = verify(active, manifest, digest_limit_bytes=manifest.size_bytes)
    if verdict.damages:
        raise PreflightError(
            f"the caches in {active} are {in_words(verdict.damages)}",
            "caches as they were sealed",
            "make them anew with `rigappliance warm`, then export again",
        )
    # Of an engine or a model that was left, a sibling has no use.
    setups = {name: setup for name, setup in manifest.setups.items() if setup.key == manifest.key}
    files = {
        name: record for name, record in manifest.files.items() if record.setup in setups and not not_shipped(name)
    }
    manifest = replace(manifest, files=files, setups=setups)
    part = target.with_name(f".{target.name}.part")
    try:
        with part.open("wb") as file, tarfile.open(fileobj=file, mode="w:gz", compresslevel=6) as archive:
            add(archive, NAME, manifest.as_text().encode())
            for name, record in sorted(files.items()):
                add_file(archive, active / name, name, record)
        part.replace(target)
    except OSError as error:
        raise PreflightError(
            f"{target} cannot be written: {error.strerror or error}", "room for the file, and the right to write it"
        ) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    return manifest


def sealed(active: Path) -> Manifest:
    """Raises ``PreflightError`` where no cache lies sealed."""
    try:
        manifest = read_manifest(active)
    except NoManifestError as error:
        raise PreflightError(f"{active / NAME} {error}", "a manifest", "run `rigappliance warm`") from error
    if manifest is None or not manifest.files:
        raise PreflightError(
            f"nothing is kept in {active}", "caches of a start that got ready", "run `rigappliance warm`"
        )
    return manifest


def not_shipped(name: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in NOT_SHIPPED)


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), 0o644
    archive.addfile(entry, io.BytesIO(content))


def add_file(archive: tarfile.TarFile, path: Path, name: str, record: FileRecord) -> None:
    """Without owner and mode of this host. Raises ``OSError`` where the file is not what it was a moment ago."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = record.size_bytes, 0o644, record.mtime_ns // 10**9
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != record.sha256:
        raise OSError(errno.EBUSY, f"{name} is being written; export again when the start is over")
    archive.addfile(entry, io.BytesIO(content))


@dataclass(frozen=True)
class Taken:
    """``files`` are those that are new here; ``other`` are the settings of the last start there that are not ours."""

    manifest: Manifest
    files: int
    other: list[Difference]


def take(source: Path, state_dir: Path, identity: Identity) -> Taken:
    """Bring what ``source`` holds beside what is here, whole and verified, or change nothing.

    A good file of the same name that is here already stays.  Raises ``BundleError`` for a file that is damaged, unsafe
    or made for another rig, naming the fields that differ, and ``PreflightError`` where it cannot be stored.
    """
    store = Store(state_dir)
    try:
        # Not by tarfile's own reader of gzip, which passes over the checksum at the end.
        with gzip.open(source) as unpacked, tarfile.open(fileobj=unpacked, mode="r|") as archive:
            manifest = first_member(archive, source)
            check_fits(manifest, identity, source)
            remove(store.taken)
            store.taken.mkdir(parents=True)
            files = unpack(archive, manifest, store.taken, source)
            if len(unpacked.read(TAIL_BYTES)) == TAIL_BYTES:
                raise BundleError(f"{source} goes on after its end", "a file of `rigappliance cache export`")
        new = merge(store, replace(manifest, files=files), identity)
    except (*UNREADABLE, NoManifestError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or "it ends too soon"
        raise BundleError(f"{source} is not taken: {reason}", "a whole file of `rigappliance cache export`") from error
    finally:
        shutil.rmtree(store.taken, ignore_errors=True)
    return Taken(manifest, new, manifest.identity.other_settings(identity))


def first_member(archive: tarfile.TarFile, source: Path) -> Manifest:
    entry = archive.next()
    if entry is None or entry.name != NAME or not entry.isreg() or entry.size > LIMIT_BYTES:
        raise BundleError(f"{source} has no manifest at its beginning", "a file of `rigappliance cache export`")
    content = archive.extractfile(entry)
    assert content is not None  # noqa: S101 it is a regular file
    try:
        return manifest_from(content.read())
    except NoManifestError as error:
        raise BundleError(f"the manifest of {source} {error}", "a file of `rigappliance cache export`") from error


def check_fits(manifest: Manifest, identity: Identity, source: Path) -> None:
    """Raises ``BundleError`` with every field that differs."""
    if different := manifest.identity.differences(identity):
        theirs = "; ".join(f"{each.field} {each.found or 'unknown'}" for each in different)
        raise BundleError(
            f"{source} is for another rig: {theirs}",
            "; ".join(f"{each.field} {each.expected or 'unknown'}" for each in different),
            "export it on a rig that is built and configured like this one, or run `rigappliance warm` here",
        )


def unpack(archive: tarfile.TarFile, manifest: Manifest, staged: Path, source: Path) -> dict[str, FileRecord]:
    """Every file that the manifest names, and no other; returns them with the times that they have here.

    Names come from the manifest, which was checked, and are written as new files: neither a link nor a name of the
    archive can lead out of ``staged``.  Raises ``BundleError``, and what tarfile and the disk raise.
    """
    found: dict[str, FileRecord] = {}
    # After the manifest.
    while (entry := archive.next()) is not None:
        record = manifest.files.get(entry.name)
        tarfile.data_filter(entry, str(staged))
        if record is None or not entry.isreg() or entry.name in found:
            raise BundleError(f"{source} holds {entry.name!r}, which its manifest does not name as a file")
        if entry.size != record.size_bytes:
            raise BundleError(f"{entry.name} in {source} has {entry.size} bytes of {record.size_bytes}")
        content = archive.extractfile(entry)
        assert content is not None  # noqa: S101 it is a regular file
        path = staged / entry.name
        path.parent.mkdir(parents=True, exist_ok=True)
        total = hashlib.sha256()
        with path.open("xb") as file:
            while block := content.read(BLOCK_BYTES):
                total.update(block)
                file.write(block)
        if total.hexdigest() != record.sha256:
            raise BundleError(f"{entry.name} in {source} is damaged: its digest is not that of the manifest")
        found[entry.name] = replace(record, mtime_ns=path.stat().st_mtime_ns)
    missing = sorted(manifest.files.keys() - found.keys())
    if missing:
        raise BundleError(f"{source} lacks {missing[0]}" + (f" and {len(missing) - 1} more" if missing[1:] else ""))
    return found


def merge(store: Store, theirs: Manifest, identity: Identity) -> int:
    """Put into the cache what is not there, and the manifest last; returns how many files that are.

    Raises ``PreflightError`` where it cannot be written; what a crash leaves in between, the next start removes.
    """
    prepare(store.active.parent, identity)
    ours = read_manifest(store.active)
    names = sorted(theirs.files.keys() - (ours.files.keys() if ours else ()))
    if ours and not names:
        return 0
    # Old as they may be there, here they are new.
    setups = {key: replace(setup, used=max(setup.used, time.time())) for key, setup in theirs.setups.items()}
    files = {**theirs.files, **(ours.files if ours else {})}
    merged = replace(ours or theirs, files=files, setups={**setups, **(ours.setups if ours else {})})
    try:
        for name in names:
            move(store.taken / name, store.active / name, "is whole")
        write_manifest(store.active, merged)
    except (PreflightError, OSError) as error:
        for name in names:
            remove(store.active / name)
        if isinstance(error, PreflightError):
            raise
        raise PreflightError(f"{store.active} cannot be written: {error.strerror}", "room for the caches") from error
    return len(names)

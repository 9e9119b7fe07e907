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
import os
import shutil
import tarfile
import zlib
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from rigappliance.caches.identity import Identity
from rigappliance.caches.keep import in_words
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
    shipped = {name: record for name, record in manifest.files.items() if not not_shipped(name)}
    manifest = replace(manifest, files=shipped)
    part = target.with_name(f".{target.name}.part")
    try:
        with part.open("wb") as file, tarfile.open(fileobj=file, mode="w:gz", compresslevel=6) as archive:
            add(archive, NAME, manifest.as_text().encode())
            for name, record in sorted(shipped.items()):
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


def take(source: Path, state_dir: Path, identity: Identity) -> tuple[Manifest, bool]:
    """Bring the cache of ``source`` under its key into the state directory, whole and verified, or change nothing.

    Returns its manifest, and whether it was taken: a good cache of the same key that is here already stays.  Raises
    ``BundleError`` for a file that is damaged, unsafe or made for another rig, naming the fields that differ, and
    ``PreflightError`` where it cannot be stored.
    """
    store = Store(state_dir)
    staged = store.kept / f".taken-{os.getpid()}"
    try:
        # Not by tarfile's own reader of gzip, which passes over the checksum at the end.
        with gzip.open(source) as unpacked, tarfile.open(fileobj=unpacked, mode="r|") as archive:
            manifest = first_member(archive, source)
            check_fits(manifest, identity, source)
            if good_already(store, manifest.key):
                return manifest, False
            remove(staged)
            staged.mkdir(parents=True)
            files = unpack(archive, manifest, staged, source)
            if len(unpacked.read(TAIL_BYTES)) == TAIL_BYTES:
                raise BundleError(f"{source} goes on after its end", "a file of `rigappliance cache export`")
    except (*UNREADABLE, NoManifestError) as error:
        shutil.rmtree(staged, ignore_errors=True)
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or "it ends too soon"
        raise BundleError(f"{source} is not taken: {reason}", "a whole file of `rigappliance cache export`") from error
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise
    taken = replace(manifest, files=files)
    try:
        write_manifest(staged, taken)
    except OSError as error:
        shutil.rmtree(staged, ignore_errors=True)
        raise PreflightError(f"{store.kept} cannot be written: {error.strerror}", "room for the caches") from error
    place(store, staged, taken)
    return taken, True


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


def good_already(store: Store, key: str) -> bool:
    """Whether an undamaged cache of ``key`` is in use or kept."""
    for directory in (store.active, store.kept / key):
        try:
            manifest = read_manifest(directory)
        except NoManifestError:
            continue
        if manifest and manifest.key == key and manifest.files:
            return not verify(directory, manifest, digest_limit_bytes=manifest.size_bytes).damages
    return False


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


def place(store: Store, staged: Path, manifest: Manifest) -> None:
    """Where the next start finds it. An active cache of the same key was found damaged, or there is none."""
    try:
        active = read_manifest(store.active)
    except NoManifestError:
        active = None
    if active and active.key == manifest.key:
        store.set_aside([*store.parts(), store.active / NAME], "damaged")
    target = store.kept / manifest.key
    remove(target)
    move(staged, target, "is whole")

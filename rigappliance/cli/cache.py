"""``rigappliance cache``: what the engine compiled, looked at, verified, carried elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rigappliance.cli.options import config_options, json_option
from rigappliance.errors import ExitCode

if TYPE_CHECKING:
    from rigappliance.caches.manifest import Manifest
    from rigappliance.config import RigConfig

FILE = click.Path(path_type=Path, dir_okay=False)


@click.group(name="cache")
def command() -> None:
    """Look at what the engine compiled, verify it, take it to rigs that are built alike.

    Caches are kept below state_dir by engine, model, layout and cards, and verified before each start.

    \b
    Examples:
      rigappliance cache list -c rig.toml
      rigappliance cache export caches.tar.gz -c rig.toml
      rigappliance cache import caches.tar.gz -c rig.toml
    """


@command.command(name="list")
@config_options
@json_option
def list_caches(config: Path | None, profile: str | None, as_json: bool) -> None:
    """Show the cache in use and those kept beside it."""
    loaded = load(config, profile)
    rows = [row(manifest, in_use) for manifest, in_use in manifests(loaded)]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    elif not rows:
        click.echo("nothing is kept: `rigappliance warm` fills the caches")
    else:
        for manifest, in_use in manifests(loaded):
            click.echo(as_text(manifest, in_use))


@command.command(name="verify")
@config_options
def verify_caches(config: Path | None, profile: str | None) -> int:
    """Read every file of the cache in use and compare its digest. Exits with 4 where one is damaged."""
    from rigappliance.caches.bundle import sealed
    from rigappliance.caches.keep import describe, in_words
    from rigappliance.caches.store import Store
    from rigappliance.caches.tree import verify
    from rigappliance.errors import PreflightError
    from rigappliance.units import format_duration

    active = Store(load(config, profile).state_dir).active
    manifest = sealed(active)
    verdict = verify(active, manifest, digest_limit_bytes=manifest.size_bytes)
    if verdict.damages:
        raise PreflightError(
            f"the caches in {active} are {in_words(verdict.damages)}",
            "caches as they were sealed",
            "nothing: the next start moves them aside, and compiles anew",
        )
    click.echo(f"{describe(manifest)}: as they were sealed, read in {format_duration(verdict.seconds)}")
    if verdict.stray:
        click.echo(f"{len(verdict.stray)} more that no start has sealed; the next one removes them")
    return int(ExitCode.OK)


@command.command(name="export")
@click.argument("file", type=FILE)
@config_options
def export_caches(file: Path, config: Path | None, profile: str | None) -> None:
    """Write the cache in use into FILE, a gzipped tar archive, for rigs that are built alike.

    Also while an engine serves.
    """
    from rigappliance.caches.bundle import export
    from rigappliance.caches.keep import describe
    from rigappliance.units import format_size

    manifest = export(load(config, profile).state_dir, file)
    click.echo(f"{file}: {describe(manifest)}, {format_size(file.stat().st_size)} packed, for {manifest.key}")


@command.command(name="import")
@click.argument("file", type=FILE)
@config_options
def import_caches(file: Path, config: Path | None, profile: str | None) -> None:
    """Take the cache in FILE, if it was made for a rig like this one and is whole.

    Engine, model, layout, cards and places must be the same; what differs is named. A good cache that is here already
    stays. The engine runs code from it: take files only from rigs of your own.
    """
    from rigappliance.caches.bundle import take
    from rigappliance.caches.identity import read_identity
    from rigappliance.caches.keep import describe

    loaded = load(config, profile)
    with held(loaded):
        manifest, taken = take(file, loaded.state_dir, read_identity(loaded))
    if taken:
        click.echo(f"taken: {describe(manifest)}, as {manifest.key}; the next start uses it")
    else:
        click.echo(f"a good cache for {manifest.key} is here already, and stays; `rigappliance cache clear` removes it")


@command.command(name="clear")
@config_options
def clear_caches(config: Path | None, profile: str | None) -> None:
    """Remove all caches, kept ones and those set aside too. The next start compiles anew."""
    from rigappliance.caches.store import Store

    loaded = load(config, profile)
    with held(loaded):
        Store(loaded.state_dir).clear()
    click.echo("the caches are empty")


def load(config: Path | None, profile: str | None) -> RigConfig:
    from rigappliance.configfile import load_config

    return load_config(config, profile=profile)


@contextmanager
def held(config: RigConfig) -> Iterator[None]:
    """No launch works in the caches meanwhile. Raises ``BusyError`` where one does."""
    from rigappliance.launch.state import StateDirectory

    directory = StateDirectory(config.state_dir)
    directory.acquire()
    try:
        yield
    finally:
        directory.release()


def manifests(config: RigConfig) -> Iterator[tuple[Manifest, bool]]:
    """All that make sense, that in use first."""
    from rigappliance.caches.manifest import NoManifestError, read_manifest
    from rigappliance.caches.store import Store

    store = Store(config.state_dir)
    for directory in (store.active, *(store.kept / key for key in store.kept_keys())):
        try:
            manifest = read_manifest(directory)
        except NoManifestError:
            continue
        if manifest:
            yield manifest, directory == store.active


def row(manifest: Manifest, in_use: bool) -> dict[str, Any]:
    return {
        "key": manifest.key,
        "in_use": in_use,
        "made": manifest.made,
        "files": len(manifest.files),
        "size_bytes": manifest.size_bytes,
        "parts_bytes": parts(manifest),
        "filled_s": dict(manifest.filled_s),
        "last_s": dict(manifest.last_s),
        "for": dict(manifest.identity.fields),
    }


def parts(manifest: Manifest) -> dict[str, int]:
    """Bytes by the directory below the cache."""
    found: dict[str, int] = {}
    for name, record in manifest.files.items():
        part = name.partition("/")[0]
        found[part] = found.get(part, 0) + record.size_bytes
    return dict(sorted(found.items()))


def as_text(manifest: Manifest, in_use: bool) -> str:
    from rigappliance.caches.keep import describe, when
    from rigappliance.units import format_duration, format_size

    fields = manifest.identity.fields
    listed = ", ".join(f"{name} {format_size(size)}" for name, size in parts(manifest).items())
    lines = [
        f"{manifest.key}  {'in use' if in_use else 'kept'}, sealed {when(manifest)}, {describe(manifest)}",
        f"  for    vLLM {fields.get('engine')}, {fields.get('model path')}, {fields.get('layout')}",
        f"  holds  {listed or 'nothing'}",
    ]
    if manifest.filled_s and manifest.last_s:
        first, last = sum(manifest.filled_s.values()), sum(manifest.last_s.values())
        lines.append(f"  start  {format_duration(first)} when it was filled, {format_duration(last)} the last time")
    return "\n".join(lines)

"""``rigappliance cache``: what the engine compiled, looked at, verified, carried elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
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

    They lie below state_dir and are verified before each start. What no start has used for 30 days is removed.

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
    """Show what is kept, by the starts that use it."""
    loaded = load(config, profile)
    manifest = read(loaded)
    if as_json:
        click.echo(json.dumps(as_tree(manifest), indent=2))
    elif manifest is None or not manifest.files:
        click.echo("nothing is kept: `rigappliance warm` fills the caches")
    else:
        click.echo(as_text(manifest))


@command.command(name="verify")
@config_options
def verify_caches(config: Path | None, profile: str | None) -> int:
    """Read every file and compare its digest. Exits with 4 where one is damaged."""
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
            "nothing: the next start moves the damaged part aside, and compiles it anew",
        )
    click.echo(f"{describe(manifest)}: as they were sealed, read in {format_duration(verdict.seconds)}")
    if verdict.stray:
        click.echo(f"{len(verdict.stray)} more that no start has sealed; the next one removes them")
    return int(ExitCode.OK)


@command.command(name="export")
@click.argument("file", type=FILE)
@config_options
def export_caches(file: Path, config: Path | None, profile: str | None) -> None:
    """Write what is kept for this engine, model and layout into FILE, a gzipped tar archive.

    For rigs that are built alike. Also while an engine serves.
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
    """Take what FILE holds, if it was made for a rig like this one and is whole.

    Engine, model, layout, cards and places must be the same; what differs is named. What is here already stays. The
    engine runs code from it: take files only from rigs of your own.
    """
    from rigappliance.caches.bundle import take
    from rigappliance.caches.identity import read_identity
    from rigappliance.caches.keep import describe
    from rigappliance.preflight.finding import counted

    loaded = load(config, profile)
    with held(loaded):
        taken = take(file, loaded.state_dir, read_identity(loaded))
    if taken.files:
        click.echo(f"taken: {counted(taken.files, 'file')} of {describe(taken.manifest)}; the next start uses them")
    else:
        click.echo("all of it is here already")
    for each in taken.other:
        click.echo(f"note: {each.field} was {each.found} there and is {each.expected} here: some may be of no use")


@command.command(name="clear")
@config_options
def clear_caches(config: Path | None, profile: str | None) -> None:
    """Remove all of it, and what was set aside. The next start compiles anew."""
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


def read(config: RigConfig) -> Manifest | None:
    """That of the caches, if it makes sense; the next start says where it does not."""
    from rigappliance.caches.manifest import NoManifestError, read_manifest
    from rigappliance.caches.store import Store

    try:
        return read_manifest(Store(config.state_dir).active)
    except NoManifestError:
        return None


def as_tree(manifest: Manifest | None) -> dict[str, Any]:
    if manifest is None:
        return {"files": 0, "size_bytes": 0, "parts_bytes": {}, "setups": []}
    counts, sizes = by_setup(manifest)
    setups = [
        {"setup": key, **asdict(setup), "files": counts.get(key, 0), "size_bytes": sizes.get(key, 0)}
        for key, setup in manifest.setups.items()
    ]
    return {
        "key": manifest.key,
        "made": manifest.made,
        "files": len(manifest.files),
        "size_bytes": manifest.size_bytes,
        "parts_bytes": parts(manifest),
        "filled_s": dict(manifest.filled_s),
        "last_s": dict(manifest.last_s),
        "for": {**manifest.identity.fields, **manifest.identity.settings},
        "setups": setups,
    }


def by_setup(manifest: Manifest) -> tuple[dict[str, int], dict[str, int]]:
    """Files and bytes."""
    counts: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for record in manifest.files.values():
        counts[record.setup] = counts.get(record.setup, 0) + 1
        sizes[record.setup] = sizes.get(record.setup, 0) + record.size_bytes
    return counts, sizes


def parts(manifest: Manifest) -> dict[str, int]:
    """Bytes by the directory below the cache."""
    found: dict[str, int] = {}
    for name, record in manifest.files.items():
        part = name.partition("/")[0]
        found[part] = found.get(part, 0) + record.size_bytes
    return dict(sorted(found.items()))


def as_text(manifest: Manifest) -> str:
    from rigappliance.caches.keep import describe, when
    from rigappliance.preflight.finding import counted
    from rigappliance.units import format_duration, format_size

    listed = ", ".join(f"{name} {format_size(size)}" for name, size in parts(manifest).items())
    lines = [f"{describe(manifest)}, sealed {when(manifest.made)}: {listed}"]
    if manifest.filled_s and manifest.last_s:
        first, last = sum(manifest.filled_s.values()), sum(manifest.last_s.values())
        lines.append(f"the first start so: {format_duration(first)}; the last: {format_duration(last)}")
    counts, sizes = by_setup(manifest)
    for key, setup in sorted(manifest.setups.items(), key=lambda item: -item[1].used):
        mark = "*" if key == manifest.identity.setup else " "
        held = f"{counted(counts.get(key, 0), 'file')}, {format_size(sizes.get(key, 0))}"
        lines.append(f"{mark} {key}  {setup.name}: {held}, used {when(setup.used)}")
    return "\n".join(lines)

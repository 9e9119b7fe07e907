"""``rigappliance warm``: pay for the silent phase now, so that the next start does not."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rigappliance.cli.options import config_options
from rigappliance.errors import ExitCode

if TYPE_CHECKING:
    from rigappliance.caches.manifest import Manifest
    from rigappliance.config import RigConfig
    from rigappliance.launch.snapshot import Snapshot
    from rigappliance.launch.view import View


@click.command(name="warm")
@config_options
@click.option("--plain", is_flag=True, help="Plain lines, also on a terminal.")
@click.option(
    "--force", is_flag=True, help="Start although a check fails, or the last start failed and nothing changed."
)
def command(config: Path | None, profile: str | None, plain: bool, force: bool) -> int:
    """Start the engine once, prove it with a completion, stop it, and keep what it compiled.

    The start is that of `rigappliance launch`, with its checks and exit codes. Says afterwards where the time went
    and what is kept; `rigappliance cache export` takes that to rigs that are built alike.

    \b
    Examples:
      rigappliance warm -c rig.toml
      rigappliance warm -c rig.toml --plain 2> warm.txt
    """
    from rigappliance.configfile import load_config
    from rigappliance.launch.start import launch
    from rigappliance.launch.view import make_view

    loaded = load_config(config, profile=profile)
    view = StopsWhenReady(make_view(plain=plain))
    try:
        outcome = launch(loaded, view, force=force)
    finally:
        view.close()
    if outcome.diagnosis:
        from rigappliance.cli.launch import evidence

        click.echo(f"rigappliance: {outcome.message}\n{evidence(outcome.diagnosis)}", err=True, nl=False)
        click.echo(f"  to do:    {outcome.remedy}", err=True)
    if outcome.exit_code == ExitCode.OK:
        report(loaded)
    return outcome.exit_code


class StopsWhenReady:
    """A view that asks this process to stop as soon as the completion has come, as the operator would."""

    def __init__(self, view: View) -> None:
        self.view = view

    def log(self, data: bytes) -> None:
        self.view.log(data)

    def line(self, text: str) -> None:
        self.view.line(text)

    def update(self, snapshot: Snapshot) -> None:
        self.view.update(snapshot)

    def ready(self, snapshot: Snapshot, text: str) -> None:
        self.view.ready(snapshot, text)
        os.kill(os.getpid(), signal.SIGTERM)

    def close(self) -> None:
        self.view.close()


def report(config: RigConfig) -> None:
    """Seconds by phase, and what is kept for the next start."""
    from rigappliance.caches.keep import describe
    from rigappliance.caches.manifest import NoManifestError, read_manifest
    from rigappliance.caches.store import Store

    try:
        manifest = read_manifest(Store(config.state_dir).active)
    except NoManifestError:
        manifest = None
    if manifest is None:
        click.echo("nothing is kept: see the lines above")
        return
    for line in durations(manifest):
        click.echo(line)
    click.echo(f"kept: {describe(manifest)}")


def durations(manifest: Manifest) -> list[str]:
    """This start beside the one that filled the caches, where that is another one."""
    from rigappliance.units import format_duration

    first, last = manifest.filled_s, manifest.last_s
    width = max((len(name) for name in last), default=0)
    lines = []
    for name, seconds in last.items():
        line = f"{name:<{width}}  {format_duration(seconds)}"
        if first != last and name in first:
            line += f", and {format_duration(first[name])} the first time"
        lines.append(line)
    saved = sum(first.values()) - sum(last.values())
    if first != last and saved > 0:
        lines.append(f"saved by the caches: {format_duration(saved)}")
    elif first == last:
        lines.append("how much a second start saves is known after one: run this again, or launch")
    return lines

"""``rigappliance fetch``: the checkpoint, here and verified."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import click

from rigappliance.cli.options import config_options, json_option
from rigappliance.errors import ExitCode


@click.command(name="fetch")
@config_options
@click.option("--again", is_flag=True, help="Look the revision up and verify every file although all was verified.")
@json_option
def command(config: Path | None, profile: str | None, again: bool, as_json: bool) -> int:
    """Bring the checkpoint here and verify it.

    Downloads model.repository at model.revision to model.path with the engine's
    own hf, and compares every file with the hub's checksums. What is there is
    kept, an interrupted call is gone on with by the next one, and once all is
    verified a call returns at once and needs no network.

    \b
    Examples:
      rigappliance fetch -c rig.toml
      rigappliance fetch -c rig.toml --again
      rigappliance fetch -c rig.toml --json | jq .commit
    """
    from rigappliance.configfile import load_config
    from rigappliance.fetch.bring import fetch
    from rigappliance.fetch.job import job_of
    from rigappliance.fetch.stop import Stop

    declared = load_config(config, profile=profile)
    stop = Stop()
    with stop.listening():
        fetched = fetch(job_of(declared, os.environ, say, stop), again=again)
    click.echo(fetched.as_json() if as_json else str(fetched))
    return int(ExitCode.OK)


def say(line: str) -> None:
    # A reader that has left is no reason to stop.
    with suppress(OSError):
        click.echo(f"rigappliance: {line}", err=True)

"""``rigappliance launch``: start the engine and stay with it."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from rigappliance.cli.options import config_options
from rigappliance.errors import ExitCode


@click.command(name="launch")
@config_options
@click.option("--plain", is_flag=True, help="Plain lines, also on a terminal.")
@click.option("-q", "--quiet", is_flag=True, help="Only the engine's log.")
@click.option("--force", is_flag=True, help="Start although a check fails.")
def command(config: Path | None, profile: str | None, plain: bool, quiet: bool, force: bool) -> int:
    """Check, start the engine, watch it until a completion proves it ready, and stop it cleanly on SIGTERM or Ctrl-C.

    The engine's log goes to standard output, the program's own lines to
    standard error. A second Ctrl-C ends the engine at once.

    \b
    Examples:
      rigappliance launch -c rig.toml
      rigappliance launch --profile demo --plain 2> start.txt
    """
    from rigappliance.configfile import load_config
    from rigappliance.launch.start import launch
    from rigappliance.launch.view import make_view

    loaded = load_config(config, profile=profile)
    view = make_view(plain=plain, quiet=quiet)
    try:
        outcome = launch(loaded, view, force=force)
    finally:
        view.close()
    if outcome.exit_code not in (ExitCode.OK, ExitCode.INTERRUPTED) and outcome.remedy:
        sys.stderr.write(f"rigappliance: {outcome.message}\n  to do:    {outcome.remedy}\n")
    return int(outcome.exit_code)

"""``rigappliance launch``: start the engine and stay with it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rigappliance.cli.options import config_options

if TYPE_CHECKING:
    from rigappliance.diagnosis.result import Diagnosis

# `rigappliance why` shows the rest.
SHOWN = 3
SHOWN_CHARS = 300


@click.command(name="launch")
@config_options
@click.option("--plain", is_flag=True, help="Plain lines, also on a terminal.")
@click.option("-q", "--quiet", is_flag=True, help="Only the engine's log.")
@click.option(
    "--force", is_flag=True, help="Start although a check fails, or the last start failed and nothing changed."
)
def command(config: Path | None, profile: str | None, plain: bool, quiet: bool, force: bool) -> int:
    """Check, start the engine, watch it until a completion proves it ready, and stop it cleanly on SIGTERM or Ctrl-C.

    The engine's log goes to standard output, the program's own lines to
    standard error. A second Ctrl-C ends the engine at once. When it fails, the
    cause decides the exit code, and a cause that nothing but a change can mend
    keeps the next launch from starting until something has changed.

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
    if outcome.diagnosis:
        sys.stderr.write(f"rigappliance: {outcome.message}\n{evidence(outcome.diagnosis)}")
        sys.stderr.write(f"  to do:    {outcome.remedy}\n")
    return outcome.exit_code


def evidence(diagnosis: Diagnosis) -> str:
    """The first of it, a line each."""
    cause = diagnosis.cause
    lines = [f"  cause:    {cause.name} ({diagnosis.confidence})"]
    for each in diagnosis.evidence[:SHOWN]:
        where = f"{each.source}, line {each.line}" if each.line is not None else each.source
        text = " ".join(each.text.split())
        lines.append(f"  evidence: {text[:SHOWN_CHARS]} ({where})")
    return "".join(f"{line}\n" for line in lines)

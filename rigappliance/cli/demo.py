"""``rigappliance demo``: check, render, launch, ask and stop, on a tiny model and the real engine."""

from __future__ import annotations

from pathlib import Path

import click

from rigappliance.cli.options import json_option
from rigappliance.errors import UsageError


@click.command(name="demo")
@click.option("--port", type=click.IntRange(1, 65535), help="Port of the API; default: a free one.")
@click.option(
    "--engine-python",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Python of the environment that has the engine; default: .engine/bin/python.",
)
@click.option(
    "--picture", type=click.Path(path_type=Path, dir_okay=False), help="Also write the report as an SVG picture."
)
@json_option
def command(port: int | None, engine_python: Path | None, picture: Path | None, as_json: bool) -> int:
    """Serve a tiny model with the real engine on this machine's CPU, and report what happened.

    Makes a small Qwen2 checkpoint below .rigappliance/ in the working directory
    (a second run uses it again), then goes through check, render, launch, ask
    and stop as an operator would.

    \b
    Examples:
      rigappliance demo
      rigappliance demo --json | jq .phases
    """
    if picture is not None and not picture.parent.is_dir():
        # Said now, and not after the minute that the demo takes.
        raise UsageError(f"--picture: there is no directory {picture.parent}", "a file to be written", "make it first")
    from rigappliance.demo.run import run_demo

    return run_demo(port, engine_python, picture, as_json)

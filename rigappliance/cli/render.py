"""``rigappliance render``: what a launch would execute."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import click

from rigappliance.cli.options import config_options


@click.command(name="render")
@config_options
@click.option(
    "--format",
    "form",
    type=click.Choice(["json", "shell", "systemd"]),
    default="shell",
    show_default=True,
    help="A program's input, a script that becomes the engine, or a unit that runs `rigappliance launch`.",
)
def command(config: Path | None, profile: str | None, form: str) -> None:
    """Print the engine's command line and environment, or a systemd unit.

    Nothing is started and the machine is not looked at. What is declared and not
    passed on is said on stderr.

    \b
    Examples:
      rigappliance render -c rig.toml
      rigappliance render -c rig.toml --format json | jq .argv
      rigappliance render -c rig.toml --format systemd > /etc/systemd/system/rigappliance.service
    """
    from rigappliance.configfile import load_config
    from rigappliance.render.output import as_json, as_shell
    from rigappliance.render.systemd import render_unit
    from rigappliance.render.vllm import render

    declared = load_config(config, profile=profile)
    # Also for a unit: what cannot be rendered cannot be launched.
    rendered = render(declared)
    if form == "systemd":
        text = render_unit(declared, config, own_program()).removesuffix("\n")
    else:
        text = as_json(rendered) if form == "json" else as_shell(rendered)
    for notice in rendered.notices:
        click.echo(f"rigappliance: note: {notice}", err=True)
    click.echo(text)


def own_program() -> Path:
    """The command of this installation: beside its interpreter, on the PATH, or where a package would put it."""
    from rigappliance.render.systemd import PROGRAM

    beside = Path(sys.executable).parent / "rigappliance"
    return beside if beside.exists() else Path(shutil.which("rigappliance") or PROGRAM)

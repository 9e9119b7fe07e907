"""``rigappliance facts``: this machine as a file."""

from __future__ import annotations

import json
from pathlib import Path

import click

from rigappliance.cli.options import config_options


@click.command(name="facts")
@config_options
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write to this file instead of the output."
)
@click.option("--schema", is_flag=True, help="Print the JSON Schema of the file instead.")
def command(config: Path | None, profile: str | None, output: Path | None, schema: bool) -> None:
    """Write down what this machine is, for plans made elsewhere.

    Host and cards as JSON, without the host's name. `rigappliance plan --machine FILE` plans with it; in a file that
    was written by hand, whatever may be unknown may also be left out.

    \b
    Examples:
      rigappliance facts --output rig.json
      rigappliance facts --schema
      rigappliance facts | jq '.gpu.cards[].name'
    """
    from rigappliance.configfile import load_config
    from rigappliance.facts.machine import machine_schema, machine_text, read_machine_facts

    if schema:
        click.echo(json.dumps(machine_schema(), indent=2))
        return
    text = machine_text(read_machine_facts(load_config(config, profile=profile).state_dir))
    if output is None:
        click.echo(text, nl=False)
        return
    from rigappliance.errors import UsageError

    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}", "a file that can be written") from error

"""``rigappliance schema``: the configuration's JSON Schema, or an annotated example."""

from __future__ import annotations

import json

import click


@click.command(name="schema")
@click.option("--example", is_flag=True, help="Print an annotated rig.toml with every key at its default.")
def command(example: bool) -> None:
    """Print the JSON Schema of the configuration.

    \b
    Examples:
      rigappliance schema > rig.schema.json
      rigappliance schema --example > rig.toml
    """
    if example:
        from rigappliance.example import annotated_example

        click.echo(annotated_example(), nl=False)
        return
    from rigappliance.config import RigConfig

    click.echo(json.dumps(RigConfig.model_json_schema(mode="validation"), indent=2))

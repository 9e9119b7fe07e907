"""``rigappliance-vmtest list``: the tests, and what each shows."""

from __future__ import annotations

import json
from pathlib import Path

import click

from rigappliance.vmtest.cases import TESTS, cases


@click.command(name="list")
@click.option("--tests", type=click.Path(path_type=Path), default=TESTS, help="Directory of the tests.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of lines.")
def command(tests: Path, as_json: bool) -> None:
    """The tests by name, and what each shows.

    \b
    Examples:
      rigappliance-vmtest list
    """
    found = cases(tests)
    if as_json:
        rows = [{"name": case.name, "shows": case.summary, "script": str(case.script)} for case in found]
        click.echo(json.dumps(rows, indent=2))
        return
    width = max(len(case.name) for case in found)
    for case in found:
        click.echo(f"{case.name:{width}}  {case.summary}")

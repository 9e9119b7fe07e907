"""``rigappliance-vmtest run``: scripts against guests, one after the other."""

from __future__ import annotations

import json
from pathlib import Path

import click

from rigappliance.errors import ExitCode
from rigappliance.vmtest.cases import TESTS, chosen
from rigappliance.vmtest.runner import Result, run_case


@click.command(name="run")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--units",
    type=click.Choice(["renderer", "nixos"]),
    default="renderer",
    show_default=True,
    help="Whose systemd units: those that `rigappliance install` writes, or those of the NixOS module.",
)
@click.option("--keep", is_flag=True, help="Keep console log and transcript also of what passes.")
@click.option("--tests", type=click.Path(path_type=Path), default=TESTS, help="Directory of the tests.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of lines.")
def command(names: tuple[str, ...], units: str, keep: bool, tests: Path, as_json: bool) -> int:
    """Run the tests of these names, or all, each on a machine of its own.

    Exits with 1 when one of them failed; its console log and its transcript are
    kept where the last line says.

    \b
    Examples:
      rigappliance-vmtest run
      rigappliance-vmtest run service swap
      rigappliance-vmtest run service --units nixos --keep
    """
    results = []
    for case in chosen(names, tests):
        results.append(run_case(case, units, keep=keep))
        if not as_json:
            click.echo(line(results[-1]))
    if as_json:
        click.echo(json.dumps([result.as_dict() for result in results], indent=2, ensure_ascii=False))
    elif len(results) > 1:
        failed = sum(not result.passed for result in results)
        click.echo(f"{len(results)} tests, {failed} failed, {sum(r.prepare_s + r.run_s for r in results):.0f} s")
    return int(ExitCode.OK if all(result.passed for result in results) else ExitCode.INTERNAL)


def line(result: Result) -> str:
    state = "passed" if result.passed else "FAILED"
    rows = f", {len(result.faults)} faults" if result.faults else ""
    text = f"{state}  {result.name}  {result.run_s:.1f} s, prepared in {result.prepare_s:.1f} s{rows}"
    for more in (result.error, "" if result.logs is None else f"logs: {result.logs}"):
        if more:
            text += "\n" + "\n".join(f"  {part}" for part in more.splitlines())
    return text

"""``rigappliance plan``: what fits, what does not, why, and what would be faster."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rigappliance.cli.options import config_options, json_option
from rigappliance.errors import ExitCode

if TYPE_CHECKING:
    from rigappliance.plan.build import Plan

# Wide enough for a ledger's notes, for pipes and logs that tell no width.
PLAIN_WIDTH = 120


@click.command(name="plan")
@config_options
@click.option("--model", help="A checkpoint's directory, or a name of the catalogue, instead of model.path.")
@click.option(
    "--machine",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Plan this machine, from a file of `rigappliance facts`; `rig` is the 8-card rig of the defaults.",
)
@click.option("--cards", help="Plan with other cards, such as '6 x RTX 3060'.")
@click.option("--svg", type=click.Path(path_type=Path, dir_okay=False), help="Draw the ledgers into this file.")
@json_option
def command(
    config: Path | None,
    profile: str | None,
    model: str | None,
    machine: Path | None,
    cards: str | None,
    svg: Path | None,
    as_json: bool,
) -> int:
    """Say before a start whether it fits, why, and how fast it would be.

    Reads the checkpoint's headers and the machine's facts, starts nothing, changes nothing. Exits with 0 where it fits,
    with 4 where it does not or only just. The other layouts, and the changes that would make it fit, come with it.

    \b
    Examples:
      rigappliance plan -c rig.toml
      rigappliance plan --model Qwen/Qwen2.5-32B-Instruct-GPTQ-Int4 --cards '4 x RTX 3060'
      rigappliance plan --machine other-rig.json --svg plan.svg
      rigappliance plan -c rig.toml --json | jq .verdict
    """
    from rigappliance.configfile import load_config
    from rigappliance.plan.fit import Verdict
    from rigappliance.plan.subject import planned

    plan = planned(load_config(config, profile=profile), model, machine, cards)
    if svg is not None:
        write_picture(plan, svg)
    if as_json:
        click.echo(json.dumps(plan.as_dict(), indent=2, default=str))
    else:
        show(plan)
    return int(ExitCode.OK if plan.verdict is Verdict.FITS else ExitCode.PREFLIGHT)


def show(plan: Plan) -> None:
    from rich.console import Console

    from rigappliance.plan.page import print_plan

    terminal = sys.stdout.isatty()
    console = Console(width=None if terminal else PLAIN_WIDTH, highlight=False, legacy_windows=False)
    with console.capture() as capture:
        print_plan(plan, console)
    # A table pads its lines to their full width, which logs keep for ever.
    for line in capture.get().splitlines():
        click.echo(line.rstrip())


def write_picture(plan: Plan, path: Path) -> None:
    from rigappliance.errors import UsageError
    from rigappliance.plan.picture import picture

    memory = plan.cards.memory if plan.cards else None
    groups = [[card.ledger for card in memory.cards]] if memory else []
    groups.append([phase.ledger for phase in plan.host.phases])
    verdict = "; ".join([str(plan.verdict), *plan.reasons])
    try:
        path.write_text(picture(f"{plan.model} on {plan.machine}", verdict, groups), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", "a file that can be written") from error

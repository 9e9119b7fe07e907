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
    from rigappliance.config import RigConfig
    from rigappliance.facts.machine import MachineFacts
    from rigappliance.plan.build import Plan
    from rigappliance.plan.tensors import CheckpointShape

MACHINES = Path(__file__).parents[1] / "plan/data/machines"
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

    declared = load_config(config, profile=profile)
    plan = planned(declared, model, machine, cards)
    if svg is not None:
        write_picture(plan, svg)
    if as_json:
        click.echo(json.dumps(plan.as_dict(), indent=2, default=str))
    else:
        show(plan)
    return int(ExitCode.OK if plan.verdict is Verdict.FITS else ExitCode.PREFLIGHT)


def planned(declared: RigConfig, model: str | None, machine_file: Path | None, cards: str | None) -> Plan:
    """Raises ``ConfigError``, ``UsageError`` and ``PreflightError``."""
    from rigappliance.facts.machine import load_machine, read_machine_facts
    from rigappliance.plan.build import make_plan
    from rigappliance.plan.numbers import numbers_for

    facts = load_machine(named_machine(machine_file)) if machine_file else read_machine_facts(declared.state_dir)
    facts, declared = with_cards(facts, declared, cards)
    shape, largest = shape_of(declared, model)
    if model is not None:
        declared = declared.model_copy(update={"model": declared.model.model_copy(update={"name": shape.name})})
    return make_plan(declared, shape, facts, numbers_for(declared.state_dir), largest_shard_bytes=largest)


def named_machine(path: Path) -> Path:
    """A file that is there, or one that comes with the package."""
    shipped = MACHINES / f"{path}.json"
    return shipped if not path.exists() and shipped.parent == MACHINES and shipped.is_file() else path


def shape_of(declared: RigConfig, model: str | None) -> tuple[CheckpointShape, int]:
    """The checkpoint, and the bytes of its largest shard."""
    from rigappliance.plan.catalogue import entries, from_catalogue
    from rigappliance.plan.tensors import read_shape

    directory = declared.model.path if model is None else Path(model)
    if directory.is_dir() or (model is None and declared.model.repository not in entries()):
        sizes = [path.stat().st_size for path in directory.glob("*.safetensors")]
        return read_shape(directory), max(sizes, default=0)
    # Not downloaded yet: the catalogue knows it all the same.
    shape = from_catalogue(model or declared.model.repository)
    return shape, min(shape.tensor_bytes, PUBLISHED_SHARD_BYTES)


# Shards of published checkpoints are cut at 4 to 5 GB.
PUBLISHED_SHARD_BYTES = 4_000_000_000


def with_cards(facts: MachineFacts, declared: RigConfig, cards: str | None) -> tuple[MachineFacts, RigConfig]:
    """``6 x RTX 3060`` in place of the machine's own, and of the declaration's number."""
    if cards is None:
        return facts, declared
    import dataclasses
    import re

    from rigappliance.errors import UsageError
    from rigappliance.facts.gpu import GpuFacts
    from rigappliance.plan.build import named_cards

    match = re.fullmatch(r"\s*(\d{1,3})\s*[x×*]\s*(.+?)\s*", cards)
    if match is None or int(match[1]) < 1:
        raise UsageError(f"--cards {cards!r}", "a number, an x and a card's name", "such as --cards '6 x RTX 3060'")
    found = named_cards(int(match[1]), match[2])
    return dataclasses.replace(facts, gpu=GpuFacts(cards=found)), fitted(declared, len(found))


def fitted(declared: RigConfig, count: int) -> RigConfig:
    """The declaration for another number of cards: as many ranks in the widest layout, where the declared has more."""
    hardware = declared.hardware.model_copy(update={"cards": count})
    engine = declared.engine
    if engine.tensor_parallel * engine.pipeline_parallel > count:
        power = 1 << (count.bit_length() - 1)
        engine = engine.model_copy(update={"tensor_parallel": power, "pipeline_parallel": 1})
    return declared.model_copy(update={"hardware": hardware, "engine": engine})


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

"""``rigappliance calibrate``: this rig's own numbers for its plans."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rigappliance.cli.options import config_options, json_option

if TYPE_CHECKING:
    from rigappliance.config import RigConfig
    from rigappliance.plan.coefficients import Coefficient


@click.command(name="calibrate")
@config_options
@click.option("--dry-run", is_flag=True, help="Show the numbers, and write nothing.")
@json_option
def command(config: Path | None, profile: str | None, dry_run: bool, as_json: bool) -> None:
    """Take this rig's own numbers for plans from a running engine.

    Reads the engine's log, the memory of its processes and of the cards, and writes calibration.toml into state_dir;
    `rigappliance plan` and the checks use it from then on. Remove the file to go back to the shipped numbers.

    \b
    Examples:
      rigappliance calibrate -c rig.toml --dry-run
      rigappliance calibrate -c /etc/rigappliance/rig.json
    """
    from rigappliance.configfile import load_config
    from rigappliance.errors import UsageError
    from rigappliance.plan.calibrate import as_toml
    from rigappliance.plan.coefficients import shipped
    from rigappliance.plan.numbers import FILE

    declared = load_config(config, profile=profile)
    found = measure(declared)
    if not dry_run:
        path = declared.state_dir / FILE
        try:
            path.write_text(as_toml(found), encoding="utf-8")
        except OSError as error:
            raise UsageError(
                f"{path} cannot be written: {error.strerror}", "the service's user or root", "run it with sudo"
            ) from error
    if as_json:
        click.echo(json.dumps({one.name: one.value for one in found}, indent=2))
        return
    from rigappliance.units import format_size

    for one in found:
        before = shipped().size_bytes(one.name)
        click.echo(f"{one.name}: {format_size(round(one.value))} here, {format_size(before)} shipped; {one.source}")
    if not dry_run:
        click.echo(f"written to {path}")


def measure(declared: RigConfig) -> list[Coefficient]:
    """Raises ``NotRunningError`` where no engine serves with this state directory."""
    from dataclasses import replace

    from rigappliance.errors import NotRunningError
    from rigappliance.facts.gpu import read_gpu_facts
    from rigappliance.launch.state import StateDirectory
    from rigappliance.launch.treememory import tree_memory
    from rigappliance.plan import calibrate
    from rigappliance.plan.activations import graph_count
    from rigappliance.plan.arguments import engine_arguments
    from rigappliance.plan.coefficients import shipped
    from rigappliance.plan.memory import plan_memory
    from rigappliance.plan.tensors import read_shape

    directory = StateDirectory(declared.state_dir)
    state = directory.peek()
    processes = tree_memory(state.engine_pid) if state and state.engine_pid and state.ready and not state.ended else []
    if not processes:
        raise NotRunningError(
            f"no engine serves with the state directory {declared.state_dir}, or this user may not look at it",
            "an engine that is ready",
            "start it and wait until it is ready, or run this as the service's user or root",
        )
    numbers, cuda = shipped(), declared.engine.device == "cuda"
    found = list(calibrate.from_processes(processes, numbers, declared.engine.device, declared.engine.start))
    if not cuda:
        return found
    cards = [card for card in read_gpu_facts().cards if card.problem is None]
    # As they are when nothing runs on them: what they hold now is the engine's.
    idle = [replace(card, memory_used_bytes=None) for card in cards]
    arguments = engine_arguments(declared, idle[0] if idle else None)
    plan = plan_memory(read_shape(declared.model.path), arguments, idle, numbers).fullest
    with directory.log_file.open(encoding="utf-8", errors="replace") as log:
        found += calibrate.from_log(calibrate.read_log(log), plan, numbers, graph_count(arguments))
    found += calibrate.from_cards([card.memory_used_bytes or 0 for card in cards], plan, numbers)
    return found

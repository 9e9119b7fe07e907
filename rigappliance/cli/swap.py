"""``rigappliance swap``: make, enable, disable or show the declared swap file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rigappliance.cli.options import config_options, json_option
from rigappliance.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from rigappliance.swapfile import Declared, Machine, Report


class Action(click.Choice[str]):
    def get_missing_message(self, param: click.Parameter, ctx: click.Context | None) -> str:
        """Click would list the choices once more, on a line each."""
        return ""


@click.command(name="swap")
@click.argument("action", type=Action(["on", "off", "status"]))
@config_options
@click.option("--delete", is_flag=True, help="With off: remove the swap file and an unfinished one too.")
@json_option
def command(action: str, config: Path | None, profile: str | None, delete: bool, as_json: bool) -> int:
    """Make, enable, disable or show the declared swap file.

    on: makes the file of memory.swap_file where there is none, and enables it. A
    good one is used as it is, whatever its size. What was stopped half-way, by a
    power cut too, goes on where it was. off: disables it and keeps the file.
    status: exits with 0 when it is active as declared, otherwise with 11.

    \b
    Examples:
      rigappliance swap on -c rig.toml
      rigappliance swap status -c rig.toml --json
      rigappliance swap off --delete -c rig.toml
    """
    refuse_stray(action, "--delete", delete, "off")
    refuse_stray(action, "--json", as_json, "status")
    from rigappliance.configfile import load_config
    from rigappliance.swapfile import declared_swap, report
    from rigappliance.swapfile.machine import this_machine

    declared = declared_swap(load_config(config, profile=profile))
    machine = this_machine()
    if action == "status":
        found = report(declared, machine)
        click.echo(json.dumps(found.as_dict(), indent=2) if as_json else as_text(found))
        return int(ExitCode.OK if found.as_declared else ExitCode.NOT_RUNNING)
    click.echo(switch_on(declared, machine) if action == "on" else switch_off(declared, machine, delete))
    return int(ExitCode.OK)


def refuse_stray(action: str, option: str, given: bool, belongs_to: str) -> None:
    """Raises ``UsageError`` where ``option`` would be passed over in silence."""
    if given and action != belongs_to:
        raise UsageError(
            f"swap {action} has no option {option}",
            f"{option} with `rigappliance swap {belongs_to}`",
            "see `rigappliance swap --help`",
        )


def switch_on(declared: Declared, machine: Machine) -> str:
    from rigappliance.launch.notify import Notifier
    from rigappliance.swapfile import Output, enable, stoppable

    notifier = Notifier()
    output = Output(line=lambda text: click.echo(f"rigappliance: {text}", err=True), status=notifier.status)
    with stoppable("run `rigappliance swap on` again: it goes on with what is made"):
        done = enable(declared, machine, output)
    notifier.status(done)
    return done


def switch_off(declared: Declared, machine: Machine, delete: bool) -> str:
    from rigappliance.swapfile import disable, stoppable

    with stoppable("run `rigappliance swap off` again"):
        return disable(declared, machine, delete=delete)


def as_text(found: Report) -> str:
    from rigappliance.units import format_size

    def size(count: int | None) -> str:
        return "unknown" if count is None else format_size(count)

    declared = f"{size(found.declared_bytes)}, priority {found.declared_priority}" if found.declared_bytes else "none"
    lines = [f"{found.file}: {verdict(found)}", f"  declared  {declared}"]
    if found.size_bytes is not None:
        pieces = "" if found.extents is None else f", {found.extents} extents"
        lines.append(f"  file      {size(found.size_bytes)}, mode {found.mode}, {found.filesystem}{pieces}")
    if found.active:
        lines.append(f"  active    {size(found.used_bytes)} in use, priority {found.priority}")
    if found.partial_bytes is not None:
        share = f" ({found.partial_bytes / found.declared_bytes:.0%})" if found.declared_bytes else ""
        lines.append(f"  begun     {size(found.partial_bytes)}{share} in {found.file}.partial")
    if found.problem:
        lines.append(f"  problem   {found.problem}")
    return "\n".join(lines)


def verdict(found: Report) -> str:
    if found.declared_bytes == 0:
        return "active, and none is declared" if found.active else "none is declared, and it is not active"
    if found.as_declared:
        return "active as declared"
    return "active, with another size or priority than declared" if found.active else "not active"

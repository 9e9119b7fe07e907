"""``rigappliance install``: the appliance on a host without NixOS."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rigappliance.cli.options import config_options
from rigappliance.errors import ExitCode

if TYPE_CHECKING:
    from rigappliance.install.host import Host
    from rigappliance.install.plan import Plan

AGAIN = "mend that and install again: it goes on from there; or take back what is done with `rigappliance uninstall`"


@click.command(name="install")
@config_options
@click.option("--dry-run", is_flag=True, help="Show each file and command, and change nothing. Needs no root.")
@click.option("--no-start", is_flag=True, help="Enable the units for the next boot, and start none now.")
@click.option("--fetch/--no-fetch", default=None, help="Also the unit that downloads the checkpoint.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of lines.")
def command(
    config: Path | None, profile: str | None, dry_run: bool, no_start: bool, fetch: bool | None, as_json: bool
) -> int:
    """Install the systemd units on this machine, and start them.

    For hosts without NixOS; as root. The configuration is used where it lies, or
    written to /etc/rigappliance/rig.toml if none is named and none is there. A wrong
    one installs nothing. Installing again brings a changed configuration; what was
    given the first time is kept where it is not given again.

    \b
    Examples:
      rigappliance install --dry-run
      rigappliance install -c /etc/rigappliance/rig.toml --fetch
      rigappliance install --no-start
    """
    from rigappliance.install.apply import only_one
    from rigappliance.install.declaration import Request
    from rigappliance.install.host import this_host
    from rigappliance.install.plan import plan_install
    from rigappliance.swapfile.stop import stoppable

    host = this_host()
    request = Request(config, profile, fetch, not no_start)
    if dry_run:
        show_dry_run(plan_install(host, request, dry_run=True), as_json)
        return int(ExitCode.OK)
    with stoppable(AGAIN.removeprefix("mend that and ")), only_one(host):
        plan = plan_install(host, request)
        carry_out(host, plan, as_json)
    return int(ExitCode.OK)


def show_dry_run(plan: Plan, as_json: bool) -> None:
    from rigappliance.install.report import lines, shown

    if as_json:
        click.echo(json.dumps(described(plan, plan.notes, dry_run=True), indent=2))
        return
    for text in lines(plan.same, plan.steps, details=True):
        click.echo(text)
    tell(plan.notes)
    click.echo("dry run: nothing was changed" if shown(plan.steps) else "nothing to do")


def carry_out(host: Host, plan: Plan, as_json: bool) -> None:
    from rigappliance.install.apply import perform
    from rigappliance.install.report import lines, teller

    for text in [] if as_json else lines(plan.same, (), details=False):
        click.echo(text)
    say = teller(lambda text: None if as_json else click.echo(text))
    notes = (*plan.notes, *perform(host, plan.steps, say, AGAIN))
    if as_json:
        click.echo(json.dumps(described(plan, notes, dry_run=False), indent=2))
        return
    tell(notes)
    click.echo(conclusion(plan))


def tell(notes: tuple[str, ...]) -> None:
    for note in notes:
        click.echo(f"rigappliance: note: {note}", err=True)


def conclusion(plan: Plan) -> str:
    from rigappliance.install.report import shown

    if not shown(plan.steps):
        return "nothing to do"
    file = plan.declaration.file
    lines = ["installed", f"what is missing still  rigappliance check -c {file}"]
    if plan.start:
        lines.append(f"how far the start is   rigappliance status -c {file}")
        lines.append("what it says           journalctl -fu rigappliance")
    else:
        lines.append("start it               systemctl start rigappliance.target")
    return "\n".join(lines)


def described(plan: Plan, notes: tuple[str, ...], *, dry_run: bool) -> dict[str, object]:
    from rigappliance.install.report import as_dicts

    return {
        "dry_run": dry_run,
        "config_file": str(plan.declaration.file),
        "systemd": plan.systemd,
        "same": [str(path) for path in plan.same],
        "steps": as_dicts(plan.steps),
        "notes": list(notes),
    }

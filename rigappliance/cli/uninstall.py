"""``rigappliance uninstall``: all that install made is taken away again."""

from __future__ import annotations

import json

import click

from rigappliance.errors import ExitCode, UsageError

AGAIN = "mend that and uninstall again: it goes on from there"


@click.command(name="uninstall")
@click.option("--dry-run", is_flag=True, help="Show each step, and change nothing. Needs no root.")
@click.option("--keep-state", is_flag=True, help="Keep the state directory, and the user that owns it.")
@click.option("--delete-checkpoint", is_flag=True, help="Remove the checkpoint in the state directory too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of lines.")
def command(dry_run: bool, keep_state: bool, delete_checkpoint: bool, as_json: bool) -> int:
    """Remove all that install made on this machine.

    As root. Stops the units; takes away files, swap file, state, user and group,
    and sets the kernel's parameters back. What was edited since stays, and so does the
    checkpoint, unless --delete-checkpoint is given; all that stays is named. Exits
    with 11 where nothing is installed.

    \b
    Examples:
      rigappliance uninstall --dry-run
      rigappliance uninstall
      rigappliance uninstall --delete-checkpoint
    """
    if keep_state and delete_checkpoint:
        raise UsageError(
            "--keep-state and --delete-checkpoint together",
            "one of them, since the checkpoint is part of the state",
            "leave one out",
        )
    from rigappliance.install.apply import only_one, perform
    from rigappliance.install.host import this_host
    from rigappliance.install.report import as_dicts, lines, teller
    from rigappliance.install.uninstall import plan_uninstall
    from rigappliance.swapfile.stop import stoppable

    say = teller(lambda text: None if as_json else click.echo(text))
    host = this_host()
    if dry_run:
        removal = plan_uninstall(host, keep_state=keep_state, delete_checkpoint=delete_checkpoint, dry_run=True)
        notes = removal.notes
        for text in [] if as_json else lines((), removal.steps, details=True):
            click.echo(text)
    else:
        with stoppable("uninstall again: it goes on from there"), only_one(host):
            removal = plan_uninstall(host, keep_state=keep_state, delete_checkpoint=delete_checkpoint)
            notes = (*removal.notes, *perform(host, removal.steps, say, AGAIN))
    if as_json:
        report = {"dry_run": dry_run, "steps": as_dicts(removal.steps), "notes": list(notes)}
        click.echo(json.dumps(report, indent=2))
        return int(ExitCode.OK)
    for note in notes:
        click.echo(f"rigappliance: note: {note}", err=True)
    click.echo("dry run: nothing was changed" if dry_run else "uninstalled")
    return int(ExitCode.OK)

"""``rigappliance check``: what would go wrong, said before it does."""

from __future__ import annotations

import json
import shlex
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rigappliance.cli.options import config_options, json_option
from rigappliance.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from rigappliance.config import RigConfig
    from rigappliance.facts.diskspeed import DiskSpeed
    from rigappliance.preflight import Facts, Finding
    from rigappliance.preflight.fix import Fix, Outcome

# Wide enough for paths, for pipes and logs that tell no width.
PLAIN_WIDTH = 110
STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}
SYMBOLS = {"ok": "✓", "warn": "!", "fail": "✗"}
ASCII_SYMBOLS = {"ok": "+", "warn": "!", "fail": "x"}
# First half of a finding's name.
GROUPS = ("engine", "checkpoint", "toolchain", "cards", "memory", "limits", "state", "disk", "port", "clock")
VERDICTS = {"ok": "ready to start", "warn": "ready to start, with warnings", "fail": "not ready to start"}


@click.command(name="check")
@config_options
@click.option("--config-only", is_flag=True, help="Check the declaration alone, without looking at this machine.")
@click.option("--only", type=click.Choice(GROUPS), help="Only the findings of one group.")
@click.option("--problems", is_flag=True, help="Leave out of the table what is well.")
@click.option("--disk-speed", is_flag=True, help="Also time a gentle read of 256 MiB of the largest shard.")
@click.option("--hashes", is_flag=True, help="Also read the whole checkpoint and compare its checksums.")
@click.option("--fix", is_flag=True, help="Say what could be mended and by which commands; run nothing.")
@click.option("--yes", is_flag=True, help="With --fix: run them, as root, and check again.")
@json_option
def command(
    config: Path | None,
    profile: str | None,
    config_only: bool,
    only: str | None,
    problems: bool,
    disk_speed: bool,
    hashes: bool,
    fix: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Say what would go wrong before it does.

    Looks at engine, compilers, checkpoint (headers only), cards, memory, limits,
    disk, port and clock; compiles a probe, changes nothing, and starts nothing.
    Exits with 0 when nothing forbids a start, with 10 when the engine is not
    installed, with 4 for anything else. With --config-only whatever contradicts
    itself is a wrong configuration: exit 3.

    \b
    Examples:
      rigappliance check -c rig.toml
      rigappliance check --profile demo
      rigappliance check -c rig.toml --problems
      rigappliance check -c rig.toml --config-only
      rigappliance check -c rig.toml --only cards
      rigappliance check -c rig.toml --disk-speed --hashes
      rigappliance check -c rig.toml --fix
      rigappliance check -c rig.toml --fix --yes
      rigappliance check -c rig.toml --json | jq '.findings[] | select(.severity != "ok")'
    """
    from rigappliance.configfile import load_config
    from rigappliance.preflight import engine_missing, verdict
    from rigappliance.preflight.fix import check_may_fix

    refuse_stray(config_only, fix, yes, disk_speed, hashes)
    declared = load_config(config, profile=profile)
    if config_only:
        return check_declaration(declared, as_json)
    if yes:
        check_may_fix()
    facts, findings = look(declared, only, disk_speed=disk_speed, hashes=hashes)
    fixes = offered(declared, config, findings) if fix else ()
    outcomes: list[Outcome] = []
    if yes and fixes:
        outcomes = mend(fixes)
        facts, findings = look(declared, only, disk_speed=disk_speed, hashes=hashes)
    result = verdict(findings)
    if as_json:
        report = {
            "verdict": result,
            "findings": [finding.as_dict() for finding in findings],
            "facts": facts.as_dict(),
        }
        if fix:
            report["fixes"] = [o.as_dict() for o in outcomes] or [{"check": f.check, "argv": f.argv} for f in fixes]
        click.echo(json.dumps(report, indent=2, default=str))
    else:
        print_table(findings, VERDICTS[result], problems=problems)
        if fix and not outcomes:
            print_offer(fixes)
    if result != "fail":
        return int(ExitCode.OK)
    return int(ExitCode.ENGINE_MISSING if engine_missing(findings) else ExitCode.PREFLIGHT)


def refuse_stray(config_only: bool, fix: bool, yes: bool, disk_speed: bool, hashes: bool) -> None:
    """Raises ``UsageError`` where an option would be passed over in silence."""
    if yes and not fix:
        raise UsageError("--yes without --fix", "--fix --yes", "see `rigappliance check --help`")
    if config_only and (fix or disk_speed or hashes):
        raise UsageError(
            "--config-only looks at no machine, and another option asks for one",
            "--config-only alone",
            "see `rigappliance check --help`",
        )


def look(declared: RigConfig, only: str | None, *, disk_speed: bool, hashes: bool) -> tuple[Facts, list[Finding]]:
    """The facts, and the findings of one group or all."""
    from rigappliance.preflight import read_facts, run_checks

    facts = read_facts(declared, thorough=True)
    if disk_speed:
        facts = replace(facts, disk_speed=time_disk(facts))
    if hashes:
        from rigappliance.facts.hashes import read_hashes

        facts = replace(facts, hashes=read_hashes(declared.model.path, hash_progress()))
    return facts, [f for f in run_checks(declared, facts) if only is None or f.check.startswith(f"{only}.")]


def time_disk(facts: Facts) -> DiskSpeed:
    from rigappliance.facts.diskspeed import DiskSpeed, measure

    if not facts.model.shards:
        return DiskSpeed(str(facts.model.path), problem="there is no shard to read")
    largest = max(facts.model.shards, key=lambda shard: shard.size_bytes)
    return measure(facts.model.path / largest.file)


def hash_progress() -> Callable[[int, int], None] | None:
    """A line that is written over, on a terminal alone: 77 GB take minutes."""
    if not sys.stderr.isatty():
        return None
    shown = -1

    def show(done: int, total: int) -> None:
        nonlocal shown
        percent = 100 * done // max(total, 1)
        if percent != shown:
            shown = percent
            end = "\r" if percent < 100 else "\n"
            click.echo(f"comparing checksums: {percent} %{end}", nl=False, err=True)

    return show


def offered(declared: RigConfig, file: Path | None, findings: list[Finding]) -> tuple[Fix, ...]:
    """What could be run, with this very program and configuration where it is one of ours."""
    from rigappliance.preflight.fix import fixes_of
    from rigappliance.render.host import own_program
    from rigappliance.render.systemd import arguments

    program = own_program()
    words = (str(program),) if program.exists() else (sys.executable, "-m", "rigappliance")
    return fixes_of(findings, words, tuple(arguments(declared, file)))


def mend(fixes: tuple[Fix, ...]) -> list[Outcome]:
    """Say each command, run it, and say what came of it, on stderr: the table is for stdout."""
    from rigappliance.preflight.fix import apply

    outcomes = []
    for each in fixes:
        click.echo(f"rigappliance: {each.check}: {shlex.join(each.argv)}", err=True)
        outcome = apply(each)
        outcomes.append(outcome)
        if outcome.code != 0:
            code = "it could not be started" if outcome.code is None else f"it left with {outcome.code}"
            click.echo(f"rigappliance:   {code}: {outcome.said}", err=True)
    return outcomes


def print_offer(fixes: tuple[Fix, ...]) -> None:
    if not fixes:
        click.echo("nothing here can be mended by a command that is always safe")
        return
    click.echo("could be mended, by `rigappliance check --fix --yes` as root, which runs:")
    for each in fixes:
        click.echo(f"  {shlex.join(each.argv)}    # {each.check}")


def check_declaration(declared: RigConfig, as_json: bool) -> int:
    """Raises ``ConfigError`` for the first contradiction, so that it reads like any other mistake in a file."""
    from rigappliance.errors import ConfigError
    from rigappliance.preflight.declared import check_declared

    findings = check_declared(declared)
    wrong = [finding for finding in findings if finding.severity == "fail"]
    if as_json:
        report = {"verdict": "fail" if wrong else "ok", "findings": [finding.as_dict() for finding in findings]}
        click.echo(json.dumps(report, indent=2))
        return int(ExitCode.CONFIG if wrong else ExitCode.OK)
    if wrong:
        raise ConfigError(wrong[0].found, wrong[0].expected, wrong[0].remedy)
    click.echo("the configuration is valid")
    return int(ExitCode.OK)


def print_table(findings: list[Finding], conclusion: str, *, problems: bool = False) -> None:
    """A line a finding, what to do below those that need it, and the verdict last; or ``problems`` alone."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    terminal = sys.stdout.isatty()
    console = Console(width=None if terminal else PLAIN_WIDTH, highlight=False, legacy_windows=False)
    symbols = SYMBOLS if console.encoding.lower().startswith("utf") else ASCII_SYMBOLS
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold", ratio=1)
    for finding in findings:
        if problems and finding.severity == "ok":
            continue
        # Text and not markup: a path may hold brackets.
        style = STYLES[finding.severity]
        table.add_row(Text(symbols[finding.severity], style), finding.check, Text(finding.found))
        for label, clause in (("expected", finding.expected), ("to do", finding.remedy)):
            if finding.severity != "ok" and clause:
                table.add_row("", Text(f"  {label}", "dim"), Text(clause))
    counts = Counter(finding.severity for finding in findings)
    with console.capture() as capture:
        console.print(table)
        console.print(f"{counts['ok']} ok, {counts['warn']} warn, {counts['fail']} fail: {conclusion}")
    # A table pads its lines to their full width, which logs keep for ever.
    for line in capture.get().strip("\n").splitlines():
        click.echo(line.rstrip())

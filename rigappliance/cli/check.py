"""``rigappliance check``: what would go wrong, said before it does."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rigappliance.cli.options import config_options, json_option
from rigappliance.errors import ExitCode

if TYPE_CHECKING:
    from rigappliance.config import RigConfig
    from rigappliance.preflight import Finding

# Wide enough for paths, for pipes and logs that tell no width.
PLAIN_WIDTH = 110
STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}
SYMBOLS = {"ok": "✓", "warn": "!", "fail": "✗"}
ASCII_SYMBOLS = {"ok": "+", "warn": "!", "fail": "x"}
# First half of a finding's name.
GROUPS = ("engine", "checkpoint", "cards", "memory", "state", "port")
VERDICTS = {"ok": "ready to start", "warn": "ready to start, with warnings", "fail": "not ready to start"}


@click.command(name="check")
@config_options
@click.option("--config-only", is_flag=True, help="Check the declaration alone, without looking at this machine.")
@click.option("--only", type=click.Choice(GROUPS), help="Only the findings of one group.")
@json_option
def command(config: Path | None, profile: str | None, config_only: bool, only: str | None, as_json: bool) -> int:
    """Say what would go wrong before it does.

    Looks at the engine, the checkpoint (headers only), cards, memory, disk and
    port, changes nothing, and starts nothing. Exits with 0 when nothing forbids
    a start, with 10 when the engine is not installed, with 4 for anything else.
    With --config-only whatever contradicts itself is a wrong configuration: exit 3.

    \b
    Examples:
      rigappliance check -c rig.toml
      rigappliance check --profile demo
      rigappliance check -c rig.toml --config-only
      rigappliance check -c rig.toml --only checkpoint
      rigappliance check -c rig.toml --json | jq '.findings[] | select(.severity != "ok")'
    """
    from rigappliance.configfile import load_config
    from rigappliance.preflight import engine_missing, read_facts, run_checks, verdict

    declared = load_config(config, profile=profile)
    if config_only:
        return check_declaration(declared, as_json)
    facts = read_facts(declared)
    findings = [f for f in run_checks(declared, facts) if only is None or f.check.startswith(f"{only}.")]
    result = verdict(findings)
    if as_json:
        report = {
            "verdict": result,
            "findings": [finding.as_dict() for finding in findings],
            "facts": facts.as_dict(),
        }
        click.echo(json.dumps(report, indent=2, default=str))
    else:
        print_table(findings, VERDICTS[result])
    if result != "fail":
        return int(ExitCode.OK)
    return int(ExitCode.ENGINE_MISSING if engine_missing(findings) else ExitCode.PREFLIGHT)


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


def print_table(findings: list[Finding], conclusion: str) -> None:
    """A line a finding, what to do below those that need it, and the verdict last."""
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
    for line in capture.get().splitlines():
        click.echo(line.rstrip())

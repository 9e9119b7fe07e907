"""``rigappliance bench``: how fast this rig is, and whether that has changed."""

from __future__ import annotations

import json
from contextlib import ExitStack, suppress
from pathlib import Path

import click

from rigappliance.cli.options import config_options, json_option
from rigappliance.errors import ExitCode


@click.command(name="bench")
@config_options
@click.option("--quick", is_flag=True, help="About 2 minutes instead of 10, with shorter prompts and answers.")
@click.option("--start", is_flag=True, help="Start an engine for it, measure that too, and stop it at the end.")
@click.option("--svg", type=click.Path(path_type=Path, dir_okay=False), help="Draw the figures into this file.")
@click.option("--no-keep", is_flag=True, help="Keep no record of this run to compare later ones with.")
@json_option
def command(
    config: Path | None, profile: str | None, quick: bool, start: bool, svg: Path | None, no_keep: bool, as_json: bool
) -> int:
    """Measure this rig: start, prompts and answers at 1, 4, 16 and 32 requests at a time, against its earlier runs.

    Uses the benchmark client that comes with the engine. Lengths are chosen for the time there is, by the plan and a
    few requests, and stay those of the run before. A difference is called better or worse only where it is larger than
    the spread. Ctrl-C keeps what there is.

    \b
    Examples:
      rigappliance bench -c rig.toml
      rigappliance bench --quick --svg bench.svg
      rigappliance bench --start --json | jq '.figures[] | [.kind, .concurrency, .tokens_s]'
    """
    from rigappliance.configfile import load_config
    from rigappliance.measure.page import as_dict, as_text
    from rigappliance.measure.run import bench, stoppable
    from rigappliance.measure.starting import started

    declared = load_config(config, profile=profile)
    with ExitStack() as stack:
        if start:
            stack.enter_context(stoppable())
            stack.enter_context(started(declared, named(config, profile)))
        report = bench(declared, say, quick=quick, kept=not no_keep)
    click.echo(json.dumps(as_dict(report), indent=2) if as_json else as_text(report))
    if svg is not None:
        draw(report, svg)
    if report.error:
        raise report.error
    return int(ExitCode.OK)


def named(config: Path | None, profile: str | None) -> list[str]:
    """The options that name the same configuration."""
    return [*(["--config", str(config)] if config else []), *(["--profile", profile] if profile else [])]


def draw(report: object, path: Path) -> None:
    from rigappliance.errors import UsageError
    from rigappliance.measure.picture import picture
    from rigappliance.measure.run import Report

    assert isinstance(report, Report)  # noqa: S101 typed late, to import late
    try:
        path.write_text(picture(report), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", "a file that can be written") from error


def say(line: str) -> None:
    # A reader that has left is no reason to stop.
    with suppress(OSError):
        click.echo(f"rigappliance: {line}", err=True)

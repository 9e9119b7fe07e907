"""``rigappliance why``: explain a failure."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rigappliance.cli.options import config_options, json_option
from rigappliance.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from rigappliance.diagnosis.barelog import BareLog


@click.command(name="why")
@config_options
@click.option("--log", type=click.Path(path_type=Path), help="A log from anywhere, - for standard input.")
@click.option("--exit-status", type=click.IntRange(0, 255), help="With --log: the exit status that the engine left.")
@click.option("--signal", "signal_name", help="With --log: the signal that ended the engine, such as KILL or 9.")
@click.option("--record", is_flag=True, hidden=True, help="For ExecStopPost: record what has not been recorded.")
@json_option
def command(
    config: Path | None,
    profile: str | None,
    log: Path | None,
    exit_status: int | None,
    signal_name: str | None,
    record: bool,
    as_json: bool,
) -> int:
    """Explain the last failure of the declared engine, or a log from anywhere.

    As root it shows the words of the kernel and of systemd as well. Exit code 0
    whether a cause is found, unknown, or nothing failed: --json tells them apart.

    \b
    Examples:
      rigappliance why -c rig.toml
      rigappliance why --log engine.log
      rigappliance why --log vllm.log --exit-status 137
      rigappliance why --log engine.log --signal KILL --json
    """
    if log is None:
        if exit_status is not None or signal_name is not None:
            raise UsageError("--exit-status and --signal without --log", "a log that they belong to", "add --log FILE")
        return of_unit(config, profile, as_json=as_json, record=record)
    if exit_status is not None and signal_name is not None:
        raise UsageError("both --exit-status and --signal", "one of them", "leave one of them away")
    status = -signal_number(signal_name) if signal_name is not None else exit_status
    result = read_log(log, status)
    sys.stdout.write(f"{json.dumps(as_content(result), indent=2) if as_json else as_page(result, log)}\n")
    return int(ExitCode.OK)


def of_unit(config: Path | None, profile: str | None, *, as_json: bool, record: bool) -> int:
    """The last failure of the declared engine, or, for its unit's ExecStopPost, the record of it."""
    from rigappliance.configfile import load_config
    from rigappliance.launch import explain

    declared = load_config(config, profile=profile)
    return explain.record(declared) if record else explain.explain(declared, as_json=as_json)


def read_log(path: Path, exit_status: int | None) -> BareLog:
    from rigappliance.diagnosis import barelog

    try:
        if str(path) == "-":
            return barelog.read(sys.stdin.buffer, exit_status)
        with path.open("rb") as stream:
            return barelog.read(stream, exit_status)
    except OSError as error:
        raise UsageError(
            f"cannot read {str(path)!r}: {(error.strerror or str(error)).lower()}",
            "a log file, or - for standard input",
            "check --log",
        ) from error


def signal_number(name: str) -> int:
    """The number of ``KILL``, ``SIGKILL`` or ``9``."""
    try:
        if name.isdecimal():
            return int(signal.Signals(int(name)))
        return int(signal.Signals[f"SIG{name.upper().removeprefix('SIG')}"])
    except (KeyError, ValueError) as error:
        raise UsageError(f"no such signal {name!r}", "a name or number such as KILL or 9", "see `kill -l`") from error


def as_content(result: BareLog) -> dict[str, object]:
    from rigappliance.diagnosis.report import as_dict

    found = as_dict(result.diagnosis) if result.diagnosis else {"cause": None}
    return {
        **found,
        "failed": result.diagnosis is not None and result.diagnosis.cause.name != "stopped",
        "phase": result.phase.label,
        "lines": result.lines,
    }


def as_page(result: BareLog, path: Path) -> str:
    from rigappliance.diagnosis.report import as_text

    name = "standard input" if str(path) == "-" else os.fspath(path)
    head = f"{name}: {result.lines} lines, last phase {'serving' if result.serving else result.phase.label}"
    if result.diagnosis is None:
        how = ", and the engine was told to stop" if result.stopping else ""
        return f"{head}\nno failure: nothing in it says that anything failed{how}"
    return as_text(result.diagnosis, head)

"""`rigappliance why` for a unit: the last failure of a state directory, at any later time."""

from __future__ import annotations

import json
import os
import time
from typing import Any

import click

from rigappliance.config import RigConfig
from rigappliance.diagnosis.report import as_text, from_dict
from rigappliance.errors import ExitCode, PreflightError, RigError
from rigappliance.launch import journal
from rigappliance.launch.earlier import supervisor_alive
from rigappliance.launch.failures import Failure, peek_failures
from rigappliance.launch.gate import final
from rigappliance.launch.postmortem import UNIT, record_killed
from rigappliance.launch.refusal import last_refusal
from rigappliance.launch.state import StateDirectory
from rigappliance.units import format_duration

SHOWN_LINES = 20
# The kernel may count a kill a moment after systemd has noticed it.
AFTER_S = 30.0


def explain(config: RigConfig, as_json: bool) -> int:
    """Print the last failure, diagnosed now where its launch could not. Returns the exit code."""
    directory = StateDirectory(config.state_dir)
    check_readable(directory)
    record_quietly(config, directory)
    failures, refusal = peek_failures(directory), last_refusal(directory)
    refused = {"refused": refusal} if refusal else {}
    words = system_words(failures[-1]) if failures else {}
    if as_json:
        content = described(failures[-1], words) if failures else {"cause": None}
        click.echo(json.dumps({**content, **refused}))
        return int(ExitCode.OK)
    if refusal:
        click.echo(f"{told_refusal(refusal)}\n")
    click.echo(told(failures[-1], words) if failures else f"no failure is recorded in {config.state_dir}")
    return int(ExitCode.OK)


def told_refusal(refusal: dict[str, Any]) -> str:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(refusal["at"]))
    lines = [
        f"The last start, on {when}, was refused before there was an engine (exit code {refusal.get('exit_code')}):"
    ]
    lines.append(f"  {refusal['error']}")
    if refusal.get("remedy"):
        lines.append(f"  to do: {refusal['remedy']}")
    return "\n".join(lines)


def record(config: RigConfig) -> int:
    """For ExecStopPost: write down the end of a launch that was killed; nothing where it told its end itself."""
    message = record_quietly(config, StateDirectory(config.state_dir))
    if message:
        click.echo(f"rigappliance: {message}", err=True)
    return int(ExitCode.OK)


def check_readable(directory: StateDirectory) -> None:
    """Raises ``PreflightError`` where nothing can be seen, which is not the same as nothing to see."""
    if directory.root.exists() and not os.access(directory.root, os.R_OK | os.X_OK):
        raise PreflightError(
            f"{directory.root} cannot be read by this user",
            "root, the service's user or a member of its group",
            "run it with sudo",
        )


def record_quietly(config: RigConfig, directory: StateDirectory) -> str | None:
    """A launch that runs keeps the lock, and has nothing to be told of; who may not write only looks."""
    before = directory.peek()
    # The lock is taken no longer and no more often than it must: a launch that met it would not start.
    if before is None or (before.ended is not None and "SERVICE_RESULT" not in os.environ):
        return None
    if before.ended is None and supervisor_alive(before):
        return None
    try:
        directory.acquire()
    except RigError:
        return None
    try:
        state = directory.read()
        return record_killed(config, directory, state) if state else None
    finally:
        directory.release()


def system_words(failure: Failure) -> dict[str, list[str]]:
    """What kernel and systemd said between start and end, where this user may read it."""
    found = {
        "kernel": journal.kernel_lines(failure.boot_id, failure.started, failure.ended + AFTER_S),
        "systemd": journal.unit_lines(UNIT, failure.boot_id, failure.started, failure.ended + AFTER_S),
    }
    return {source: list(lines[-SHOWN_LINES:]) for source, lines in found.items() if lines}


def described(failure: Failure, words: dict[str, list[str]]) -> dict[str, Any]:
    """All that is recorded, in one flat object."""
    cause = failure.known_cause
    return {
        "decision": str(cause.decision),
        "remedy": cause.remedy,
        "evidence": [],
        **failure.diagnosis,
        "cause": failure.cause,
        "exit_code": failure.exit_code,
        "started": failure.started,
        "ended": failure.ended,
        "phase": failure.phase,
        "ready": failure.ready,
        "loaded": failure.loaded,
        "attempt": failure.attempt,
        "mended": failure.mended,
        "given_up": failure.exit_code == ExitCode.GIVEN_UP,
        "run_id": failure.run_id,
        "boot_id": failure.boot_id,
        "facts": failure.facts,
        "journal": words,
    }


def told(failure: Failure, words: dict[str, list[str]]) -> str:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(failure.ended))
    duration = format_duration(max(failure.ended - failure.started, 0.0))
    what = "while serving" if failure.ready else f"during {failure.phase}"
    lines = [f"The last failure was on {when}, {what}, {duration} after the start."]
    if failure.mended:
        lines.append("A later start got ready.")
    lines += ["", diagnosis_text(failure), "", f"then: {what_followed(failure)}"]
    for source, said in words.items():
        lines += ["", f"{source}'s log of that time:", *(f"  {line}" for line in said)]
    return "\n".join(lines)


def diagnosis_text(failure: Failure) -> str:
    diagnosis = from_dict(failure.diagnosis)
    if diagnosis is not None:
        return as_text(diagnosis)
    # Written by another version.
    cause = failure.known_cause
    return f"cause: {cause.title} ({failure.cause})\nto do: {cause.remedy}"


def what_followed(failure: Failure) -> str:
    """The restart decision, in words."""
    if failure.exit_code == ExitCode.GIVEN_UP:
        return f"given up after {failure.attempt} starts that failed so (exit code {failure.exit_code})"
    if final(failure):
        return f"no restart until something changes (exit code {failure.exit_code})"
    if failure.known_cause.mended_by and failure.mended:
        return f"no restart (exit code {failure.exit_code})"
    count = f", {failure.attempt} times in a row" if failure.attempt > 1 else ""
    return f"failed so{count}; on exit code {failure.exit_code} systemd starts it again"

"""``rigappliance status``: the running or the last start."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rigappliance.cli.options import config_options, json_option
from rigappliance.errors import ExitCode, NotRunningError

if TYPE_CHECKING:
    from rigappliance.launch.state import StartState


@click.command(name="status")
@config_options
@json_option
def command(config: Path | None, profile: str | None, as_json: bool) -> int:
    """Show phase, times, memory and endpoint of the running or the last start.

    Exit code 0: an engine is starting or serving. 11: none is.

    \b
    Examples:
      rigappliance status -c rig.toml
      rigappliance status --json | jq .phase
    """
    from rigappliance.configfile import load_config
    from rigappliance.launch.state import StateDirectory

    loaded = load_config(config, profile=profile)
    state = StateDirectory(loaded.state_dir).peek()
    if state is None:
        raise NotRunningError(
            f"no start is recorded in {loaded.state_dir}",
            "the state directory of a launch",
            "start one with `rigappliance launch`, or name its configuration with --config",
        )
    content = describe(state)
    click.echo(json.dumps(content) if as_json else as_text(state, content))
    return int(ExitCode.OK if content["running"] else ExitCode.NOT_RUNNING)


def describe(state: StartState) -> dict[str, object]:
    """Everything that is known, with seconds and bytes as numbers."""
    from rigappliance.launch.earlier import supervisor_alive
    from rigappliance.launch.treememory import tree_memory

    running = state.ended is None and supervisor_alive(state)
    killed = state.ended is None and not running
    elapsed_s = state.duration_s() if running or state.ended is not None else None
    memory = tree_memory(state.engine_pid) if running and state.engine_pid else []
    return {
        "running": running,
        "phase": state.phase if running else "ended",
        "last_phase": state.phase,
        "detail": state.detail,
        "ready": state.ready is not None and running,
        "elapsed_s": round(elapsed_s, 1) if elapsed_s is not None else None,
        "time_to_ready_s": round(to_ready_s, 1) if (to_ready_s := ready_after_s(state)) is not None else None,
        "time_left_s": round(state.eta_s, 1) if running and state.eta_s is not None else None,
        "time_left_basis": state.eta_basis if running else None,
        "phases": [
            {"name": record.name, "seconds": round(seconds, 2)}
            for record, seconds in zip(state.phases, phase_seconds(state, elapsed_s), strict=True)
        ],
        "url": state.url,
        "model": state.model,
        "engine_version": state.engine_version,
        "kv_cache_tokens": state.kv_tokens,
        "supervisor_pid": state.supervisor_pid,
        "engine_pid": state.engine_pid,
        "processes": [vars(process) for process in memory],
        "outcome": "killed" if killed else state.outcome,
        "exit_code": state.exit_code,
        "cause": state.cause,
        "message": "the supervisor was killed without a word" if killed else state.message,
    }


def ready_after_s(state: StartState) -> float | None:
    """From the start until it was ready."""
    if state.ready_after_s is not None or state.ready is None:
        return state.ready_after_s
    return max(state.ready - state.started, 0.0)


def phase_seconds(state: StartState, elapsed_s: float | None) -> list[float]:
    """Of each phase; the one that goes on has the rest of the time. The clock of the wall may have jumped."""
    known = [record.seconds for record in state.phases]
    rest = max((elapsed_s or 0.0) - sum(seconds for seconds in known if seconds is not None), 0.0)
    return [rest if seconds is None else seconds for seconds in known]


def as_text(state: StartState, content: dict[str, object]) -> str:
    from rigappliance.launch.treememory import tree_memory
    from rigappliance.units import format_duration, format_size

    lines = [f"{state.model} on {state.url}, vLLM {state.engine_version}"]
    if content["running"]:
        since = state.duration_s()
        doing = "ready" if content["ready"] else f"{state.phase} {state.detail}".strip()
        lines.append(f"{doing}, started {format_duration(since)} ago (supervisor pid {state.supervisor_pid})")
        if state.eta_s is not None:
            lines.append(f"about {format_duration(state.eta_s)} left ({state.eta_basis})")
        elif not content["ready"]:
            lines.append(f"time left unknown ({state.eta_basis})")
    else:
        lines.append(f"not running: {content['message']}")
        if state.cause:
            lines.append(f"cause: {state.cause} (exit code {state.exit_code}); `rigappliance why` tells more")
    if state.kv_tokens:
        lines.append(f"KV cache {state.kv_tokens:,} tokens")
    lines += ["", "phase            seconds"]
    phases = content["phases"]
    assert isinstance(phases, list)  # noqa: S101 made above
    lines += [f"{phase['name']:<14} {phase['seconds']:>9.1f}" for phase in phases if phase["name"] != "ready"]
    memory = tree_memory(state.engine_pid) if content["running"] and state.engine_pid else []
    if memory:
        lines += ["", "process                pid       PSS      swap"]
        for process in memory:
            sizes = f"{format_size(process.pss_bytes):>9} {format_size(process.swap_bytes):>9}"
            lines.append(f"{process.name[:20]:<20} {process.pid:>6} {sizes}")
        total = format_size(sum(process.pss_bytes for process in memory))
        lines.append(f"{'together':<20} {'':>6} {total:>9} {format_size(sum(p.swap_bytes for p in memory)):>9}")
    return "\n".join(lines)

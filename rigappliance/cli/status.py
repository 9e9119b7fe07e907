"""``rigappliance status``: the running or the last start."""

from __future__ import annotations

import json
import time
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
    now = time.time()
    end = now if running else state.ended
    memory = tree_memory(state.engine_pid) if running and state.engine_pid else []
    return {
        "running": running,
        "phase": state.phase if running else "ended",
        "last_phase": state.phase,
        "detail": state.detail,
        "ready": state.ready is not None and running,
        "elapsed_s": round(end - state.started, 1) if end else None,
        "time_to_ready_s": round(state.ready - state.started, 1) if state.ready else None,
        "time_left_s": round(state.eta_s, 1) if running and state.eta_s is not None else None,
        "time_left_basis": state.eta_basis if running else None,
        "phases": [
            {"name": record.name, "seconds": round((record.ended or end or record.started) - record.started, 2)}
            for record in state.phases
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
        "message": "the supervisor was killed without a word" if killed else state.message,
    }


def as_text(state: StartState, content: dict[str, object]) -> str:
    from rigappliance.launch.treememory import tree_memory
    from rigappliance.units import format_duration, format_size

    lines = [f"{state.model} on {state.url}, vLLM {state.engine_version}"]
    if content["running"]:
        since = time.time() - state.started
        doing = "ready" if content["ready"] else f"{state.phase} {state.detail}".strip()
        lines.append(f"{doing}, started {format_duration(since)} ago (supervisor pid {state.supervisor_pid})")
        if state.eta_s is not None:
            lines.append(f"about {format_duration(state.eta_s)} left ({state.eta_basis})")
        elif not content["ready"]:
            lines.append(f"time left unknown ({state.eta_basis})")
    else:
        lines.append(f"not running: {content['message']}")
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

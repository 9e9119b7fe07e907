"""``rigappliance wait``: block until an endpoint is live, ready or completing."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rigappliance.cli.options import config_options, json_option
from rigappliance.errors import ExitCode

if TYPE_CHECKING:
    from rigappliance.endpoint import Endpoint

POLL_S = 0.2


@click.command(name="wait")
@config_options
@click.option("--url", help="Endpoint to wait for, such as http://rig-07:8000; default: the configuration's.")
@click.option("--model", help="Model that has to be served; default: any.")
@click.option(
    "--for",
    "goal",
    type=click.Choice(["live", "ready", "completion"]),
    default="completion",
    show_default=True,
    help="live: /health answers 200. ready: and the model is listed. completion: and it completes a token.",
)
@click.option("--timeout", default="2h", show_default=True, help="How long to wait, such as 90s or 45min.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing.")
@json_option
def command(
    config: Path | None,
    profile: str | None,
    url: str | None,
    model: str | None,
    goal: str,
    timeout: str,
    quiet: bool,
    as_json: bool,
) -> int:
    """Return when the endpoint is live, ready or completing.

    Exit code 0: it is. 8: the timeout passed. 5, 6, 7 or 130: the launch on this
    machine ended meanwhile, with that code.

    \b
    Examples:
      rigappliance wait -c rig.toml --for completion --timeout 90min
      rigappliance wait --url http://rig-07:8000 --for live --quiet
    """
    from rigappliance.errors import TimedOutError

    limit_s = duration(timeout)
    endpoint, launch = target(config, profile, url)
    started = time.monotonic()
    reason = "not tried"
    while True:
        reached, reason = check(endpoint, goal, model, limit_s - (time.monotonic() - started))
        elapsed_s = time.monotonic() - started
        if reached:
            if as_json:
                click.echo(json.dumps({"reached": goal, "url": endpoint.url, "waited_s": round(elapsed_s, 3)}))
            elif not quiet:
                click.echo(f"{goal} after {elapsed_s:.1f} s: {endpoint.url}")
            return int(ExitCode.OK)
        if launch is not None and (ended := launch.ended()):
            return report(ended[0], ended[1], as_json, quiet)
        if elapsed_s >= limit_s:
            error = TimedOutError(
                f"{endpoint.url} was not {goal} within {timeout}: {reason}",
                f"{goal}",
                "see `rigappliance status` on that machine, or wait longer with --timeout",
            )
            return report(error.exit_code, error.message, as_json, quiet)
        time.sleep(min(POLL_S, max(limit_s - elapsed_s, 0.01)))


def duration(text: str, *, above_zero: bool = False) -> float:
    """The seconds of ``--timeout``. Raises ``UsageError``."""
    from rigappliance.errors import UsageError
    from rigappliance.units import parse_duration

    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise UsageError(f"--timeout is {text!r}", str(error), "correct --timeout") from error
    if above_zero and not seconds:
        raise UsageError(f"--timeout is {text!r}", "a time above 0, such as '90s'", "correct --timeout")
    return seconds


def target(config: Path | None, profile: str | None, url: str | None) -> tuple[Endpoint, LocalLaunch | None]:
    """The endpoint, and the launch behind it where it is this machine's."""
    import os

    from rigappliance.endpoint import check_api_key, endpoint_at, endpoint_of

    if url is not None:
        key = os.environ.get("RIGAPPLIANCE_API_KEY")
        check_api_key(key or "", "environment variable RIGAPPLIANCE_API_KEY")
        return endpoint_at(url, key), None
    from rigappliance.configfile import load_config

    loaded = load_config(config, profile=profile)
    return endpoint_of(loaded), LocalLaunch(loaded.state_dir)


class LocalLaunch:
    """Notices when a launch that was seen running on this machine ends."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.run_id: str | None = None
        self._looked_s = 0.0

    def describe(self) -> str:
        """What the launch is doing, in one clause; empty where there is none."""
        from rigappliance.launch.earlier import supervisor_alive
        from rigappliance.launch.state import StateDirectory

        state = StateDirectory(self.state_dir).peek()
        if state is None or state.ended is not None or not supervisor_alive(state):
            return ""
        left = f", about {state.eta_s:.0f} s left" if state.eta_s else ""
        return f"a launch is in phase {state.phase}{left}"

    def ended(self) -> tuple[ExitCode, str] | None:
        """Its exit code and message, once it has ended; looked up once a second."""
        if time.monotonic() - self._looked_s < 1.0:
            return None
        self._looked_s = time.monotonic()
        from rigappliance.launch.earlier import supervisor_alive
        from rigappliance.launch.state import StateDirectory

        state = StateDirectory(self.state_dir).peek()
        if state is None:
            return None
        if state.ended is None and supervisor_alive(state):
            self.run_id = state.run_id
            return None
        if self.run_id != state.run_id:
            return None
        if state.ended is None:
            return ExitCode.DIED, "the launch was killed without a word"
        code = ExitCode(state.exit_code or 0)
        return (code or ExitCode.NOT_RUNNING), f"the launch ended: {state.message}"


def check(endpoint: Endpoint, goal: str, model: str | None, left_s: float) -> tuple[bool, str]:
    """Whether the goal is reached, and why not."""
    from rigappliance.endpoint import (
        UnreachableError,
        complete_one_token,
        healthy,
        is_completion,
        port_open,
        served_models,
    )

    if not port_open(endpoint, min(max(left_s, 0.05), 5.0)):
        return False, "nothing listens there"
    quick_s = min(max(left_s, 0.5), 5.0)
    try:
        health = healthy(endpoint, quick_s)
        if not health.ok:
            return False, f"/health answers {health.status}"
        if goal == "live":
            return True, ""
        models = served_models(endpoint, quick_s)
        if not models or (model is not None and model not in models):
            return False, f"the models served are {models}"
        if goal == "ready":
            return True, ""
        reply = complete_one_token(endpoint, model or models[0], max(left_s, 1.0))
        return is_completion(reply), f"a completion was answered with {reply.status}"
    except UnreachableError as error:
        return False, str(error)


def report(code: ExitCode, message: str, as_json: bool, quiet: bool) -> int:
    if as_json:
        click.echo(json.dumps({"reached": None, "exit_code": int(code), "error": message}))
    elif not quiet:
        click.echo(f"rigappliance: {message}", err=True)
    return int(code)

"""The engine that is measured: the one that serves with this state directory."""

from __future__ import annotations

import math

from rigappliance.config import RigConfig
from rigappliance.endpoint import (
    Endpoint,
    UnreachableError,
    endpoint_of,
    request,
    request_failed,
)
from rigappliance.errors import DiedError, NotRunningError
from rigappliance.launch.earlier import supervisor_alive
from rigappliance.launch.state import StartState, StateDirectory
from rigappliance.units import format_duration

ANSWER_S = 30.0
# What vLLM counts; both are gauges, one line an engine.
BUSY = ("vllm:num_requests_running", "vllm:num_requests_waiting")


class Serving:
    """One launch that is ready. Raises ``NotRunningError`` where there is none."""

    def __init__(self, config: RigConfig) -> None:
        self.directory = StateDirectory(config.state_dir)
        self.endpoint: Endpoint = endpoint_of(config)
        state = self.directory.peek()
        remedy = "start one with `rigappliance launch`, or let --start do it"
        if state is None or state.ended is not None or not supervisor_alive(state):
            raise NotRunningError(
                f"no engine serves with the state directory {config.state_dir}", "an engine that is ready", remedy
            )
        if state.ready is None:
            left = f", about {format_duration(state.eta_s)} left" if state.eta_s else ""
            raise NotRunningError(
                f"the engine is not ready: a launch is in phase {state.phase}{left}",
                "an engine that is ready",
                "wait for it with `rigappliance wait`",
            )
        self.state: StartState = state
        self.model = self.served()

    def served(self) -> str:
        """The name under which the model is served. Raises ``NotRunningError`` and ``RequestFailedError``."""
        try:
            reply = request(self.endpoint, "GET", "/v1/models", ANSWER_S)
        except UnreachableError as error:
            raise NotRunningError(
                f"no answer from {self.endpoint.url}: {error}", "a running engine", "see `rigappliance status`"
            ) from error
        content = reply.json()
        models = content.get("data") if reply.ok and isinstance(content, dict) else None
        if not isinstance(models, list) or not models:
            raise request_failed(self.endpoint, reply)
        return str(models[0]["id"])

    def alive(self) -> None:
        """Raises ``DiedError`` once this launch is no longer the one that serves."""
        state = self.directory.peek()
        if state and state.run_id == self.state.run_id and state.ended is None and supervisor_alive(state):
            return
        said = (state.message if state and state.run_id == self.state.run_id else None) or "without a word"
        raise DiedError(f"the engine ended while it was measured: {said}", "an engine that serves", "see `why`")

    def requests(self) -> int | None:
        """How many it works on or has waiting; None where it does not say. Raises nothing."""
        try:
            reply = request(self.endpoint, "GET", "/metrics", ANSWER_S)
        except UnreachableError:
            return None
        return requests_in(reply.body.decode(errors="replace")) if reply.ok else None


def requests_in(metrics: str) -> int | None:
    """The sum of the gauges in a page for Prometheus."""
    found = []
    for line in metrics.splitlines():
        name, _, value = line.rpartition(" ")
        if name.partition("{")[0] in BUSY:
            try:
                number = float(value)
            except ValueError:
                continue
            if math.isfinite(number):
                found.append(number)
    return round(sum(found)) if found else None

"""Proofs of life: what the engine's own endpoints say, taken with care.

``/health`` reads a flag and says 200 from an engine that is wedged, so a
completion is the only proof; ``/metrics`` tells a wedged engine from a busy one.
"""

from __future__ import annotations

from dataclasses import dataclass

from rigappliance.endpoint import Endpoint, Reply, UnreachableError, complete_one_token, healthy, is_completion, request

QUICK_S = 5.0

# Bodies of the error 500 that follows the core's death (v1/engine/exceptions).
CORE_DEAD = (b"EngineDeadError", b"EngineCore encountered an issue")

TOKEN_COUNTERS = ("vllm:prompt_tokens_total{", "vllm:generation_tokens_total{")


@dataclass(frozen=True)
class Proof:
    """``ok``, or why not. ``dead``: the engine itself says that it cannot recover. ``refused``: it answered at once."""

    ok: bool
    reason: str = ""
    dead: bool = False
    refused: bool = False


def tokens_processed(endpoint: Endpoint) -> float | None:
    """Prompt and generated tokens since the start, from ``/metrics``; None where it does not answer."""
    try:
        reply = request(endpoint, "GET", "/metrics", QUICK_S)
    except UnreachableError:
        return None
    return sum_tokens(reply.body.decode(errors="replace")) if reply.ok else None


def sum_tokens(text: str) -> float | None:
    """The token counters of a Prometheus exposition, added up; None where there are none."""
    values = []
    for line in text.splitlines():
        if line.startswith(TOKEN_COUNTERS):
            try:
                values.append(float(line.rsplit(" ", 1)[1]))
            except ValueError:
                continue
    return sum(values) if values else None


def prove_health(endpoint: Endpoint) -> Proof:
    try:
        reply = healthy(endpoint, QUICK_S)
    except UnreachableError as error:
        return Proof(False, f"/health does not answer ({error})")
    if reply.status == 503:
        return Proof(False, "/health answers 503: the engine says that its core is dead", dead=True)
    return Proof(reply.ok, "" if reply.ok else f"/health answers {reply.status}", refused=not reply.ok)


def prove_completion(endpoint: Endpoint, model: str, timeout_s: float) -> Proof:
    """One real token."""
    try:
        reply = complete_one_token(endpoint, model, timeout_s)
    except UnreachableError as error:
        return Proof(False, f"no answer to a one-token completion ({error})")
    if is_completion(reply):
        return Proof(True)
    return Proof(False, refusal(reply), dead=any(word in reply.body for word in CORE_DEAD), refused=True)


def refusal(reply: Reply) -> str:
    return f"a one-token completion was answered with {reply.status}: {reply.body[:200].decode(errors='replace')}"

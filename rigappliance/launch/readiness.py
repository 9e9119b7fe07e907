"""From an open port to a proved engine, and proof again and again while it serves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from rigappliance.endpoint import Endpoint, port_open
from rigappliance.launch.probes import Proof, prove_completion, prove_health, tokens_processed
from rigappliance.launch.proctree import descendants
from rigappliance.launch.sockets import listens
from rigappliance.units import format_duration

# While the port is expected to open at any moment, and while it is not.
PORT_POLL_S = 0.05
PORT_POLL_EARLY_S = 1.0
# A proof that failed once may have met an engine that is still settling.
PROOF_TRIES = 5
RETRY_S = 1.0


class Readiness:
    """Proofs of one engine. ``root`` is the process below which it runs."""

    def __init__(self, endpoint: Endpoint, model: str, root: int, interval_s: float, timeout_s: float) -> None:
        self.endpoint = endpoint
        self.model = model
        self.root = root
        self.interval_s = interval_s
        self.timeout_s = timeout_s

    async def port_opens(self, soon: Callable[[], bool]) -> None:
        """Return when the engine itself listens; ``soon`` says whether that is about to happen.

        Another server on the same port would pass every proof, so whose
        socket it is gets looked up before anything is asked.
        """
        while not (port_open(self.endpoint, 0.2) and self._is_ours()):
            await asyncio.sleep(PORT_POLL_S if soon() else PORT_POLL_EARLY_S)

    def _is_ours(self) -> bool:
        return listens([stat.pid for stat in descendants(self.root)], self.endpoint.port)

    async def prove(self) -> Proof:
        """``/health`` and one real completion, tried a few times."""
        proof = Proof(False, "not tried")
        for attempt in range(PROOF_TRIES):
            if attempt:
                await asyncio.sleep(RETRY_S)
            proof = await asyncio.to_thread(self._prove_once)
            if proof.ok:
                break
        return proof

    def _prove_once(self) -> Proof:
        health = prove_health(self.endpoint)
        return prove_completion(self.endpoint, self.model, self.timeout_s) if health.ok else health

    async def until_it_fails(self) -> Proof:
        """A completion now and then while nobody else proves the engine alive; returns the proof that failed."""
        seen = await self._tokens()
        while True:
            await asyncio.sleep(self.interval_s)
            now = await self._tokens()
            if now is not None and seen is not None and now > seen:
                # Somebody's request was worked on: that is proof enough, and free.
                seen = now
                continue
            proof = await self._probe()
            if not proof.ok:
                return proof
            seen = await self._tokens()

    async def _probe(self) -> Proof:
        """A completion, and ``/health``, by which gateways go."""
        health = await asyncio.to_thread(prove_health, self.endpoint)
        if health.dead:
            return health
        proof = await self._completes()
        if not proof.ok or health.ok:
            return proof
        deadline_s = time.monotonic() + self.timeout_s
        while not health.ok and not health.dead and time.monotonic() < deadline_s:
            await asyncio.sleep(RETRY_S)
            health = await asyncio.to_thread(prove_health, self.endpoint)
        return health

    async def _completes(self) -> Proof:
        """An engine that works on other requests meanwhile is busy, not hung."""
        before = await self._tokens()
        refusals = 0
        while True:
            proof = await asyncio.to_thread(prove_completion, self.endpoint, self.model, self.timeout_s)
            if proof.ok or proof.dead:
                return proof
            if proof.refused:
                # It answers, so it does not hang; once more, since one request may fail for itself.
                refusals += 1
                if refusals == PROOF_TRIES:
                    return proof
                await asyncio.sleep(RETRY_S)
                continue
            after = await self._tokens()
            if before is None or after is None or after <= before:
                return Proof(False, f"{proof.reason}; nothing else made progress for {format_duration(self.timeout_s)}")
            before = after

    async def _tokens(self) -> float | None:
        return await asyncio.to_thread(tokens_processed, self.endpoint)

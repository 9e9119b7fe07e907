"""The caches of one launch, from before its start to after its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from rigappliance.caches.identity import Identity
from rigappliance.caches.keep import prepare, seal
from rigappliance.caches.manifest import NoManifestError
from rigappliance.caches.prune import prune

# Whoever was writing when an engine was ended wrote later than this long before.
SETTLED_S = 30.0


class Keeper:
    """``say`` gets a line for the operator. ``before`` may refuse the start; nothing after it raises."""

    def __init__(self, state_dir: Path, identity: Identity, say: Callable[[str], None]) -> None:
        self.state_dir = state_dir
        self.identity = identity
        self.say = say
        self.started_ns = time.time_ns()

    def before(self) -> None:
        """Leave the engine what is vouched for. Raises ``PreflightError`` where damage cannot be moved away."""
        for line in prepare(self.state_dir, self.identity):
            self.say(line)

    def ready(self, durations_s: Mapping[str, float]) -> None:
        """The engine is ready, after ``durations_s`` by phase: what it compiled is good. Reads all that is new."""
        if self._seal(durations_s, None):
            self._prune()

    def ended(self, *, ready: bool, in_order: bool, compiled: bool) -> None:
        """The engine is gone. ``compiled``: it had left the compile phase behind.

        What was compiled outlasts a start that failed later, for want of memory for its graphs, say; but for what was
        written last nobody vouches, since it may be half of it.
        """
        if ready or compiled:
            self._seal({}, None if in_order else time.time_ns() - round(SETTLED_S * 1e9))

    def _seal(self, durations_s: Mapping[str, float], until_ns: int | None) -> bool:
        try:
            seal(self.state_dir, self.identity, durations_s, since_ns=self.started_ns, until_ns=until_ns)
        except OSError as error:
            self.say(f"the caches are not kept ({error.strerror or error}): the next start computes them again")
            return False
        return True

    def _prune(self) -> None:
        try:
            for line in prune(self.state_dir):
                self.say(line)
        except (OSError, NoManifestError) as error:
            self.say(f"old caches are not removed: {error}")

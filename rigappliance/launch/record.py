"""What a start leaves for others to read: the state file while it runs, the history when it is ready."""

from __future__ import annotations

import time

from rigappliance.launch import failures, history
from rigappliance.launch.activity import Counters
from rigappliance.launch.history import Entry, Estimator, Key
from rigappliance.launch.outcome import Outcome
from rigappliance.launch.phases import Phase, PhaseTracker
from rigappliance.launch.snapshot import Snapshot, progress
from rigappliance.launch.state import PhaseRecord, StartState, StateDirectory


class Recorder:
    """Keeps the clock of phases. Durations come from the monotonic clock, dates from the wall clock."""

    def __init__(
        self, directory: StateDirectory, state: StartState, key: Key, estimator: Estimator, checkpoint_bytes: int
    ) -> None:
        self.directory = directory
        self.state = state
        self.key = key
        self.estimator = estimator
        self.checkpoint_bytes = checkpoint_bytes
        self.phase = Phase.PROCESS
        self.durations_s: dict[Phase, float] = {}
        self._start_s = time.monotonic()
        self._phase_s = self._start_s
        self.state.started_s = self._start_s
        self.state.phases.append(PhaseRecord(Phase.PROCESS.label, state.started))
        self.save(durable=True)

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._start_s

    def enter(self, phase: Phase) -> None:
        """Phases that the engine skipped have no record."""
        now_s, now = time.monotonic(), time.time()
        self.durations_s[self.phase] = now_s - self._phase_s
        self.state.phases[-1].ended = now
        self.state.phases[-1].seconds = self.durations_s[self.phase]
        self.phase, self._phase_s = phase, now_s
        self.state.phase, self.state.detail = phase.label, ""
        self.state.phases.append(PhaseRecord(phase.label, now))
        self.save(durable=True)

    def become_ready(self) -> None:
        self.enter(Phase.READY)
        self.state.ready = self.state.phases[-1].started
        self.state.ready_after_s = self.elapsed_s
        self.state.eta_s = None
        self.save(durable=True)
        history.append(self.directory, Entry(self.key, self.state.started, self.durations_by_label()))
        failures.mend_all(self.directory)

    def durations_by_label(self) -> dict[str, float]:
        return {phase.label: seconds for phase, seconds in self.durations_s.items()}

    def end(self, outcome: Outcome) -> None:
        self.state.ended = time.time()
        self.state.elapsed_s = self.elapsed_s
        self.state.phases[-1].ended = self.state.ended
        self.state.phases[-1].seconds = time.monotonic() - self._phase_s
        self.state.outcome = outcome.kind
        self.state.exit_code = outcome.exit_code
        self.state.cause = outcome.diagnosis.cause.name if outcome.diagnosis else None
        self.state.message = outcome.message
        self.state.eta_s = None
        self.save(durable=True)

    def snapshot(self, tracker: PhaseTracker, counters: Counters | None, quiet_s: float) -> Snapshot:
        in_phase_s = time.monotonic() - self._phase_s
        bar = tracker.bar
        share = bar.done / bar.total if bar else None
        return Snapshot(
            phase=tracker.phase,
            elapsed_s=self.elapsed_s,
            in_phase_s=in_phase_s,
            bar=bar,
            weights_loaded=tracker.weights_loaded,
            checkpoint_bytes=self.checkpoint_bytes,
            estimate=self.estimator.estimate(tracker.phase, in_phase_s, share),
            durations_s=dict(self.durations_s),
            engine_rss_bytes=counters.rss_bytes if counters else 0,
            engine_read_bytes=counters.read_bytes if counters else 0,
            vram_used_bytes=counters.vram_bytes if counters else 0,
            quiet_s=quiet_s,
        )

    def describe(self, snapshot: Snapshot) -> None:
        """Progress within a phase, for `status`."""
        self.state.detail = progress(snapshot)
        self.state.eta_s = snapshot.estimate.remaining_s
        self.state.eta_basis = snapshot.estimate.basis
        self.save()

    def save(self, *, durable: bool = False) -> None:
        """Phases outlast a power cut; of the progress within one it may take the last."""
        self.directory.write(self.state, durable=durable)

"""Start the engine, watch it, prove it ready, stop it, and leave nothing behind.

One event loop: the log pipe, the guard's events, process descriptors (pidfd)
of the engine's parts and a few timers.  When the engine is ready and idle, the
loop sleeps from probe to probe.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from rigappliance.config import RigConfig
from rigappliance.endpoint import Endpoint
from rigappliance.errors import EngineMissingError, ExitCode
from rigappliance.launch import engineprocess, stacks
from rigappliance.launch.activity import Counters, StallClock, count
from rigappliance.launch.leftovers import (
    clean_temporary,
    remove_run_directory,
    remove_shared_memory,
    shared_memory_names,
)
from rigappliance.launch.logpump import LogFile, LogPump
from rigappliance.launch.notify import Notifier
from rigappliance.launch.outcome import Ending, Outcome, diagnosed
from rigappliance.launch.parts import Parts
from rigappliance.launch.phases import Phase, PhaseTracker
from rigappliance.launch.proctree import ProcessStat, become_subreaper, descendants, kill_tree
from rigappliance.launch.readiness import Readiness
from rigappliance.launch.record import Recorder
from rigappliance.launch.snapshot import Snapshot, describe
from rigappliance.launch.view import View
from rigappliance.launch.witness import Witness, witness_for
from rigappliance.signals import STOP_SIGNALS
from rigappliance.units import format_duration, format_size

SAMPLE_S = 1.0
# A dying engine gets this long to say why before the rest of it is ended.
LAST_WORDS_S = 2.0
# A start that is stopped gets no longer than this to do so by itself.
UNREADY_STOP_S = 2.0
# The time left is told anew this often to systemd and `status` while a phase goes on.
REFRESH_S = 10.0
# A process that waits for a device in the kernel cannot be killed; this often that is said.
STUCK_S = 10.0
# systemd's deadlines are moved at most this often.
EXTEND_EVERY_S = 10.0
# While processes are made to say what they are doing: enough for ten of them.
ASIDE_LINES = 4000


class Supervisor:
    """One launch, from the first process to the last. ``run`` returns how it ended and never raises for the engine."""

    def __init__(
        self,
        config: RigConfig,
        argv: tuple[str, ...],
        environment: dict[str, str],
        endpoint: Endpoint,
        recorder: Recorder,
        view: View,
        notifier: Notifier,
        card_memory_used: Callable[[], int],
        witness: Witness | None = None,
        when_ready: Callable[[], None] = lambda: None,
    ) -> None:
        self.config = config
        # Runs in a thread beside the serving engine, and must not raise.
        self.when_ready = when_ready
        self.argv = argv
        self.environment = environment
        self.endpoint = endpoint
        self.recorder = recorder
        self.view = view
        self.notifier = notifier
        self.card_memory_used = card_memory_used
        self.witness = witness or witness_for(recorder.directory.root, config.engine.device, config.model.path)
        self.tracker = PhaseTracker()
        self.engine: engineprocess.EngineProcess
        self.pump: LogPump
        self.events = engineprocess.EventReader()
        self.parts: Parts
        self.counters: Counters | None = None
        self.clock: StallClock | None = None
        self.stopping = False
        self.engine_exit: int | None = None
        self.swept: dict[str, Any] | None = None
        # Lines that stacks are made of, and that say nothing about the cause.
        self.aside: list[str] | None = None
        self.last_extend_s = 0.0
        self.said_lost = False
        self.shown: tuple[object, ...] = ()
        self.shown_s = 0.0
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> Outcome:
        """Raises ``EngineMissingError`` where the engine's program cannot be started at all."""
        self.loop = asyncio.get_running_loop()
        self.finished: asyncio.Future[Ending] = self.loop.create_future()
        self.parts = Parts(self.loop, self._on_part_death)
        self.exited = asyncio.Event()
        self.gone = asyncio.Event()
        self.log_ended = asyncio.Event()
        # First of all, so that no signal finds an engine that nobody would stop.
        for signum in STOP_SIGNALS:
            if signum == signal.SIGHUP and signal.getsignal(signum) is signal.SIG_IGN:
                # nohup(1) meant it.
                continue
            self.loop.add_signal_handler(signum, self._on_signal, signum)
        # Should the guard itself be killed, the engine's orphans come to us.
        become_subreaper()
        self.before = shared_memory_names()
        self.recorder.state.counters = self.witness.memory.before
        try:
            self.engine = engineprocess.start(
                self.argv, self.environment, self.recorder.state.run_id, self.recorder.directory.temporary
            )
        except OSError as error:
            raise engineprocess.cannot_start(error) from error
        launch = self.config.launch
        self.readiness = Readiness(
            self.endpoint,
            self.config.model.name,
            self.engine.popen.pid,
            interval_s=launch.probe_interval,
            timeout_s=launch.probe_timeout,
        )
        log = LogFile(self.recorder.directory.log_file, launch.log_size)
        self.log = log
        self.pump = LogPump(self.engine.log_fd, log, self.view.log, self._on_line)
        self.loop.add_reader(self.engine.log_fd, self._on_log)
        self.loop.add_reader(self.engine.status_fd, self._on_event)
        self._spawn(self._sample())
        self._spawn(self._become_ready())
        if self.notifier.watchdog_interval_s:
            self._spawn(self._watchdog(self.notifier.watchdog_interval_s))
        self.notifier.extend(launch.stall_timeout + 60)
        try:
            ending = await self.finished
            return await self._shut_down(ending)
        finally:
            log.close()
            self.witness.close()
            for task in self._tasks:
                task.cancel()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) and not self.finished.done():
            # A defect in a watcher must not leave an engine unwatched.
            self.finished.set_exception(error)

    def _finish(
        self,
        code: ExitCode,
        what: str,
        remedy: str = "",
        *,
        quiet_s: float | None = None,
        probe: str = "",
        core_dead: bool = False,
    ) -> None:
        if not self.finished.done():
            self.finished.set_result(Ending(code, what, remedy, quiet_s, probe, core_dead, self.engine_exit))

    # --- what comes in -----------------------------------------------------

    def _on_log(self) -> None:
        if not self.pump.read():
            self.loop.remove_reader(self.engine.log_fd)
            os.close(self.engine.log_fd)
            self.log_ended.set()

        if self.log.lost_bytes and not self.said_lost:
            self.said_lost = True
            self.view.line(f"{self.log.path} cannot be written, so part of the log is not kept; is the disk full?")

    def _on_line(self, line: str) -> None:
        if self.aside is not None:
            if len(self.aside) < ASIDE_LINES:
                self.aside.append(line)
            return
        before = self.tracker.phase
        self.witness.feed(line)
        if self.tracker.feed(line):
            self.recorder.state.loaded = self.tracker.weights_loaded or self.tracker.phase > Phase.WEIGHTS
            self.recorder.state.kv_tokens = self.tracker.kv_tokens
            if self.tracker.phase is not before:
                self._entered()
            elif not self.stopping:
                self._show()

    def _entered(self) -> None:
        self.recorder.enter(self.tracker.phase)
        self._show()

    def _on_event(self) -> None:
        try:
            data = os.read(self.engine.status_fd, 4096)
        except BlockingIOError:
            return
        if not data:
            self.loop.remove_reader(self.engine.status_fd)
            if self.swept is None:
                self._spawn(self._guard_lost())
            else:
                self.gone.set()
            return
        for event in self.events.feed(data):
            if "started" in event:
                self.recorder.state.engine_pid = int(str(event["started"]))
                self.witness.saw([self.recorder.state.engine_pid])
                self.recorder.save()
            elif "exited" in event:
                self.engine_exit = int(str(event["exited"]))
                self.exited.set()
                self._spawn(self._engine_left(self.engine_exit))
            elif "orphan" in event:
                self.witness.orphan_reaped(int(str(event["orphan"])), int(str(event["status"])))
            elif "swept" in event:
                self.swept = dict(event["swept"]) if isinstance(event["swept"], dict) else {}
            elif "error" in event and not self.finished.done():
                self.finished.set_exception(
                    EngineMissingError(str(event["error"]), "a program that runs", "see `rigappliance check`")
                )

    async def _engine_left(self, status: int) -> None:
        # The log's last lines may still be in the pipe, and they say why.
        with suppress(TimeoutError):
            await asyncio.wait_for(self.log_ended.wait(), 0.5)
        how = f"by signal {signal.Signals(-status).name}" if status < 0 else f"with exit status {status}"
        if self.recorder.state.ready:
            self._finish(ExitCode.DIED, f"the engine left {how} while serving")
        else:
            self._finish(ExitCode.START_FAILED, f"the engine left {how} during {self._where()}")

    async def _guard_lost(self) -> None:
        """Someone killed the guard: its work is ours now."""
        self.witness.part_died("the engine's guard", self.engine.popen.pid)
        self.witness.orphan_reaped(self.engine.popen.pid, self.engine.popen.wait())
        self._finish(ExitCode.DIED, "the engine's guard process was killed", "find out who killed it")
        await asyncio.to_thread(kill_tree, os.getpid(), reap_all)
        remove_shared_memory(self.before)
        remove_run_directory(self.engine.run_directory)
        clean_temporary(self.recorder.directory.temporary)
        self.exited.set()
        self.gone.set()

    def _on_part_death(self, name: str, pid: int) -> None:
        if self.stopping or self.finished.done() or self.engine_exit is not None:
            return
        self.witness.part_died(name, pid)
        self.view.line(f"{name} (pid {pid}) is gone")
        self._spawn(self._part_gone(name, pid))

    async def _part_gone(self, name: str, pid: int) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self.log_ended.wait(), LAST_WORDS_S)
        ready = self.recorder.state.ready
        code, when = (ExitCode.DIED, "while serving") if ready else (ExitCode.START_FAILED, f"during {self._where()}")
        self._finish(code, f"{name} (pid {pid}) died {when}")

    def _on_signal(self, signum: int) -> None:
        name = signal.Signals(signum).name
        if self.stopping:
            self.view.line(f"{name} again: ending the engine now")
            self.engine.kill()
        elif self.recorder.state.ready:
            self._finish(ExitCode.OK, f"stopped on {name}")
        else:
            self._finish(ExitCode.INTERRUPTED, f"stopped on {name} during {self._where()}, before it was ready")

    def _where(self) -> str:
        return self.tracker.phase.label

    # --- watching ----------------------------------------------------------

    async def _sample(self) -> None:
        """Until ready: counters, parts, stall, picture. Once more when ready, to know all parts."""
        limit_s = self.config.launch.stall_timeout
        while not self.finished.done():
            self._take_sample()
            if self.recorder.state.ready:
                return
            assert self.clock is not None and self.counters is not None  # noqa: S101 set by _take_sample
            quiet_s = self.clock.stalled_s(self.counters.at_s)
            if quiet_s >= limit_s:
                self._finish(
                    ExitCode.HUNG,
                    f"the engine hung during {self._where()}: no log line, read byte, CPU time, page fault "
                    f"or card memory moved for {format_duration(quiet_s)}",
                    quiet_s=quiet_s,
                )
                return
            self._show()
            await asyncio.sleep(SAMPLE_S)

    async def _watch_memory(self) -> None:
        """While serving, when the next proof of life is due anyway."""
        while not self.finished.done():
            await asyncio.sleep(self.config.launch.probe_interval)
            self.witness.memory.sample()

    def _take_sample(self) -> None:
        tree = self._tree()
        now_s = time.monotonic()
        self.counters = count(tree, now_s, self.pump.total_bytes, self.card_memory_used())
        self.witness.memory.sample()
        self.witness.saw(stat.pid for stat in tree)
        self.parts.see(tree)
        if self.clock is None:
            self.clock = StallClock(self.counters)
        elif self.clock.sample(self.counters) and now_s - self.last_extend_s >= EXTEND_EVERY_S:
            self.last_extend_s = now_s
            self.notifier.extend(self.config.launch.stall_timeout + 60)

    def snapshot(self) -> Snapshot:
        counters = self.counters
        quiet_s = self.clock.stalled_s(time.monotonic()) if self.clock else 0.0
        return self.recorder.snapshot(self.tracker, counters, quiet_s)

    def _show(self) -> None:
        snapshot = self.snapshot()
        self.view.update(snapshot)
        bar = (snapshot.bar.done, snapshot.bar.total) if snapshot.bar else None
        news = (snapshot.phase, bar, snapshot.weights_loaded)
        now_s = time.monotonic()
        if news != self.shown or now_s - self.shown_s >= REFRESH_S:
            self.shown, self.shown_s = news, now_s
            text = describe(snapshot)
            self.notifier.status(text)
            self.recorder.describe(snapshot)

    # --- ready -------------------------------------------------------------

    async def _become_ready(self) -> None:
        await self.readiness.port_opens(lambda: self.tracker.phase >= Phase.HTTP)
        before = self.tracker.phase
        self.tracker.http_answers()
        if self.tracker.phase is not before:
            self._entered()
        proof = await self.readiness.prove()
        if self.finished.done():
            # It is being stopped: a proof that comes now must not call it ready.
            return
        if not proof.ok:
            what = f"the engine listens but is not usable: {proof.reason}"
            self._finish(ExitCode.START_FAILED, what, probe=proof.reason, core_dead=proof.dead)
            return
        self._is_ready()
        self._spawn(self._watch_memory())
        proof = await self.readiness.until_it_fails()
        if proof.dead or proof.refused:
            what = "died" if proof.dead else "failed"
            text = f"the engine {what} while serving: {proof.reason}"
            self._finish(ExitCode.DIED, text, probe=proof.reason, core_dead=proof.dead)
        else:
            text = f"the engine hung while serving: {proof.reason}"
            self._finish(ExitCode.HUNG, text, quiet_s=self.readiness.timeout_s, probe=proof.reason)

    def _is_ready(self) -> None:
        self.tracker.ready()
        self.recorder.become_ready()
        snapshot = self.snapshot()
        memory = format_size(self.counters.rss_bytes) if self.counters else "unknown"
        text = (
            f"ready after {format_duration(snapshot.elapsed_s)}: {self.config.model.name} on {self.endpoint.url}, "
            f"proved by a completion; engine memory {memory}"
        )
        self.view.ready(snapshot, text)
        self.notifier.ready(text)
        self._take_sample()
        self._spawn(asyncio.to_thread(self.when_ready))

    async def _watchdog(self, interval_s: float) -> None:
        while True:
            self.notifier.watchdog()
            await asyncio.sleep(interval_s)

    # --- the end -----------------------------------------------------------

    async def _shut_down(self, ending: Ending) -> Outcome:
        self.stopping = True
        if ending.code == ExitCode.HUNG:
            await self._gather_stacks()
        # What is known by now: ending a process that waits for a device can take long.
        outcome = self._conclude(ending)
        self.notifier.stopping(outcome.message)
        # The cause, with its evidence, is the last thing that is said, once all of it is known.
        self.view.line(f"{ending.what}; ending the engine" if self.engine_exit is None else ending.what)
        launch = self.config.launch
        asked = ending.asked
        if self.engine_exit is None and not self.gone.is_set():
            # What it says from now on is about its end by our hand.
            self.aside = []
            if asked:
                ready = self.recorder.state.ready is not None
                # While its core starts, the API server loses a SIGTERM and goes on; and there is nothing to drain.
                patience_s = launch.drain_timeout + launch.stop_timeout
                limit_s = patience_s if ready else min(patience_s, UNREADY_STOP_S)
                self.notifier.extend(limit_s + 30)
                self.engine.terminate()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.exited.wait(), limit_s)
            if not self.exited.is_set():
                self.engine.kill()
        await self._all_gone()
        with suppress(TimeoutError):
            await asyncio.wait_for(self.log_ended.wait(), 2.0)
        self.engine.popen.wait()
        self._report_sweep()
        if asked:
            return outcome
        await self.witness.ask_cards()
        final = self._conclude(ending)
        if final.message != outcome.message:
            self.notifier.status(final.message)
        return final

    def _conclude(self, ending: Ending) -> Outcome:
        """``ending`` with its cause by all that is known now."""
        if ending.asked:
            return Outcome(ending.code, ending.what)
        diagnosis = self.witness.diagnose(
            ending,
            self.tracker.phase,
            ready=self.recorder.state.ready is not None,
        )
        return diagnosed(ending, diagnosis, self.recorder.directory.log_file)

    async def _gather_stacks(self) -> None:
        """What the processes were doing. After this the engine may be dead already."""
        tree = self._tree()
        self.notifier.extend(60)
        self.view.line(f"the engine hangs; asking its {len(tree)} process(es) what they are doing")
        self.witness.stacks = await stacks.gather(tree, self.config.engine.python, self._take_aside)
        for text in self.witness.stacks:
            self.view.line(text.splitlines()[0])

    def _take_aside(self) -> list[str]:
        lines, self.aside = self.aside or [], []
        return lines

    async def _all_gone(self) -> None:
        while not self.gone.is_set():
            try:
                await asyncio.wait_for(self.gone.wait(), STUCK_S)
            except TimeoutError:
                left = ", ".join(f"{stat.name} (pid {stat.pid}, state {stat.state})" for stat in self._tree())
                self.view.line(f"still waiting for the end of {left or 'the guard'}")
                self.notifier.extend(STUCK_S * 3)

    def _tree(self) -> list[ProcessStat]:
        return descendants(self.engine.popen.pid)

    def _report_sweep(self) -> None:
        killed = (self.swept or {}).get("killed") or []
        if killed:
            self.view.line(f"ended {len(killed)} process(es) that the engine left: {', '.join(killed)}")


def reap_all() -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass

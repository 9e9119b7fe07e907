"""Everything around one launch: lock, leftovers of an earlier one, checks, rendering, the supervisor, the record."""

from __future__ import annotations

import asyncio
import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rigappliance import ENGINE_VERSION
from rigappliance.caches.identity import read_identity
from rigappliance.caches.keeper import Keeper
from rigappliance.config import RigConfig
from rigappliance.endpoint import endpoint_of, read_api_key
from rigappliance.errors import InterruptedStartError, PreflightError, RigError
from rigappliance.facts.host import HostFacts, read_host_facts
from rigappliance.facts.model import ModelFacts, read_model_facts
from rigappliance.launch import history
from rigappliance.launch.aftermath import facts_at_the_start, settle
from rigappliance.launch.boot import boot_id
from rigappliance.launch.compaction import compact_if_asked
from rigappliance.launch.earlier import sweep_earlier
from rigappliance.launch.failures import read_failures
from rigappliance.launch.gate import KnownFailureError, check_gate, check_given_up
from rigappliance.launch.history import Estimator, Key
from rigappliance.launch.notify import Notifier
from rigappliance.launch.outcome import Outcome
from rigappliance.launch.phases import Phase
from rigappliance.launch.plugin import provide_loader
from rigappliance.launch.postmortem import record_killed
from rigappliance.launch.proctree import read_stat
from rigappliance.launch.record import Recorder
from rigappliance.launch.refusal import forget_refusal, record_refusal
from rigappliance.launch.state import StartState, StateDirectory
from rigappliance.launch.supervisor import Supervisor
from rigappliance.launch.view import View
from rigappliance.preflight import raise_on_failure, run_checks
from rigappliance.render.vllm import EngineCommand, render
from rigappliance.signals import handling


def launch(config: RigConfig, view: View, *, force: bool = False) -> Outcome:
    """Run one engine until it ends or is stopped.

    ``force`` starts although a check fails, or although the last start failed
    and nothing has changed since.  Raises ``BusyError``, ``PreflightError``,
    ``EngineMissingError``, ``ConfigError`` and ``KnownFailureError`` before
    anything is started.
    """
    directory = StateDirectory(config.state_dir)
    with stoppable():
        directory.acquire()
        try:
            return locked(config, directory, view, force)
        except RigError as error:
            if not isinstance(error, KnownFailureError):
                record_refusal(directory, error)
            raise
        finally:
            directory.release()


@contextmanager
def stoppable() -> Iterator[None]:
    """Until the supervisor takes the signals over, they raise ``InterruptedStartError``."""

    def stop(signum: int, _: object) -> None:
        raise InterruptedStartError(f"stopped on {signal.Signals(signum).name} before the engine was started")

    with handling(stop):
        yield


def locked(config: RigConfig, directory: StateDirectory, view: View, force: bool) -> Outcome:
    earlier = directory.read()
    notices = sweep_earlier(earlier) if earlier else []
    if earlier and (killed := record_killed(config, directory, earlier)):
        notices.append(f"that launch: {killed}")
    failures = read_failures(directory)
    entries = history.read_history(directory)
    for notice in [*directory.notices, *notices]:
        view.line(notice)
    try:
        check_given_up(failures, directory, boot_id())
        check_gate(failures, config)
    except KnownFailureError as error:
        if not force:
            raise
        view.line(f"started by force although: {error.found.removeprefix('not started: ')}")
    directory.make_reserve()
    if compact_if_asked(directory):
        view.line("the memory was to be compacted before this start")

    command = render(config)
    for note in command.notices:
        view.line(f"note: {note}")
    check(config, view, force)

    model, host = read_model_facts(config.model.path), read_host_facts(config.model.path)
    keeper = Keeper(config.state_dir, read_identity(config, model), view.line)
    keeper.before()
    key = start_key(config, model, host)
    # The reference rig's times say something about another machine with a disk
    # that turns, and nothing about a CPU that serves a tiny model.
    seeded = config.engine.device == "cuda"
    forget_refusal(directory)
    state = new_state(config)
    recorder = Recorder(
        directory,
        state,
        key,
        Estimator(entries, key, model.tensor_bytes, seeded=seeded),
        model.tensor_bytes,
    )
    try:
        supervisor = Supervisor(
            config,
            command.argv,
            provide_loader(config, engine_environment(command)),
            endpoint_of(config),
            recorder,
            view,
            Notifier(),
            card_memory_reader(config),
            when_ready=lambda: keeper.ready(recorder.durations_by_label()),
        )
        outcome = asyncio.run(supervisor.run())
    except RigError as error:
        recorder.end(Outcome(error.exit_code, error.found, error.remedy))
        raise
    keeper.ended(
        ready=state.ready is not None,
        in_order=outcome.diagnosis is None,
        compiled=supervisor.tracker.phase > Phase.COMPILE,
    )
    outcome = settle(outcome, config, directory, state)
    recorder.end(outcome)
    return outcome


def check(config: RigConfig, view: View, force: bool) -> None:
    """Raises what :func:`raise_on_failure` raises, unless ``force``."""
    findings = run_checks(config)
    for finding in findings:
        if finding.severity == "warn":
            view.line(f"warning: {finding.check}: {finding.found}; {finding.remedy}")
    try:
        raise_on_failure(findings)
    except PreflightError as error:
        if not force:
            raise
        view.line(f"started by force although: {error.found}")


def start_key(config: RigConfig, model: ModelFacts, host: HostFacts) -> Key:
    """What the duration of a start depends on."""
    engine = config.engine
    layout = f"{engine.device} TP {engine.tensor_parallel} PP {engine.pipeline_parallel} seqs {engine.max_num_seqs}"
    ram_gib = round((host.ram_total_bytes or 0) / 2**30)
    return Key(ENGINE_VERSION, model.fingerprint, layout, f"{host.cpu.model}, {ram_gib} GiB")


def new_state(config: RigConfig) -> StartState:
    own = read_stat(os.getpid())
    return StartState(
        run_id=uuid.uuid4().hex,
        supervisor_pid=os.getpid(),
        supervisor_start_ticks=own.start_ticks if own else 0,
        started=time.time(),
        url=endpoint_of(config).url,
        model=config.model.name,
        engine_version=ENGINE_VERSION,
        boot_id=boot_id(),
        facts=facts_at_the_start(config),
    )


def engine_environment(command: EngineCommand) -> dict[str, str]:
    """The engine's whole environment; secrets are read here and nowhere earlier."""
    # On a signal that ends it, each process prints what it was doing.
    environment = {"PYTHONFAULTHANDLER": "1", **os.environ, **command.environment}
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
        # These are the supervisor's. vLLM must not answer systemd in its place.
        environment.pop(name, None)
    for name, path in command.secrets.items():
        environment[name] = read_api_key(Path(path)) or ""
    return environment


def card_memory_reader(config: RigConfig) -> Callable[[], int]:
    """Bytes in use on all cards; NVML is not even loaded for an engine on the CPU."""
    if config.engine.device == "cpu":
        return lambda: 0
    from rigappliance.facts.gpu import card_memory_used_bytes

    return lambda: sum(used or 0 for used in card_memory_used_bytes())

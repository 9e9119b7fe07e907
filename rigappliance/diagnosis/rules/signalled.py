"""Ended by a signal, and which one."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass

from rigappliance.diagnosis.finding import EVENTS, EXIT, KERNEL, PROCESS, found, of_hit
from rigappliance.diagnosis.kernellog import Trap, is_engine_name, program_xids, traps
from rigappliance.diagnosis.observations import DeadPart, Observations
from rigappliance.diagnosis.result import Confidence, Diagnosis, Evidence
from rigappliance.diagnosis.rules.logcause import bus_error
from rigappliance.diagnosis.signature import Role
from rigappliance.units import format_size

_LOG_STATUS = re.compile(r"(?:exit code:? |Failed core proc\(s\): \{'[^']*': )(-?\d{1,3})\b")
# Who says how a worker left, which is the first of all parts to do so.
_OF_WORKERS = ("worker-died", "v0-worker")
# Who reports the end of a worker or of the core, and what these say themselves if they can.
_REPORTS = (
    ("worker-init", ("worker-start", "worker-hit", "worker-failed")),
    ("engine-dead", ("core-fatal", "core-start", "core-hit")),
)
# What core and workers say of an exception of their own before they leave.
_OWN_WORDS = {
    "VLLM::EngineCor": ("core-fatal", "core-start", "core-hit"),
    "VLLM::Worker": ("worker-start", "worker-hit", "worker-failed"),
}
_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE, signal.SIGTRAP, signal.SIGSYS)
# Without anything known about memory, this share of the limit is as good as the limit.
AT_LIMIT_SHARE = 0.98


@dataclass(frozen=True)
class End:
    """``status`` is None for a process that is gone without anybody knowing how."""

    status: int | None
    evidence: Evidence
    observed: bool = True


def trapped(seen: Observations) -> Diagnosis | None:
    """The kernel says which instruction of which library it was."""
    pids = {part.pid for part in seen.dead_parts}
    known = list(traps(seen.kernel_lines))
    ours = [trap for trap in known if trap.pid in pids]
    if not ours and (not pids or (seen.exit_status or 0) < 0):
        ours = [trap for trap in known if is_engine_name(trap.task)]
    return _of_trap(ours[0], seen) if ours else None


def _of_trap(trap: Trap, seen: Observations) -> Diagnosis:
    evidence = (Evidence(KERNEL, trap.line), *_frames(seen))
    if trap.kind == "invalid opcode":
        remedy = f"replace {trap.library} by a build without AVX" if trap.library else ""
        return found("illegal-instruction", Confidence.CERTAIN, evidence, remedy)
    where = f"report it with the stack in the engine's log: the crash was in {trap.library}" if trap.library else ""
    return found("part-crashed", Confidence.CERTAIN, evidence, where)


def by_signal(seen: Observations) -> Diagnosis | None:
    end = first_end(seen)
    if end is None:
        return None
    evidence = (end.evidence, *_frames(seen))
    confidence = Confidence.LIKELY if end.observed else Confidence.POSSIBLE
    number = None if end.status is None else -end.status
    if number == signal.SIGILL:
        return found("illegal-instruction", Confidence.CERTAIN, evidence)
    if number == signal.SIGBUS:
        cause, more = bus_error(seen)
        return found(cause, Confidence.LIKELY, (*evidence, *more))
    if number in _CRASHES:
        xids = [Evidence(KERNEL, line) for line in program_xids(seen.kernel_lines)[:1]]
        return found("part-crashed", Confidence.LIKELY, (*evidence, *xids))
    if number in (None, signal.SIGKILL):
        return _killed(seen, evidence, confidence, known=number is not None)
    return found("part-killed", confidence, evidence)


def first_end(seen: Observations) -> End | None:
    """The first process that ended by a signal or unseen, as observed; else as the log has it."""
    for part in seen.dead_parts:
        if part.status is not None and part.status < 0:
            return End(part.status, Evidence(PROCESS, f"{part.name} (pid {part.pid}): {_name(part.status)}"))
    logged = _logged_status(seen)
    if logged is not None and logged.status is not None:
        # A process that left by itself was ended by no signal, whoever did not see it leave.
        return logged if logged.status < 0 else None
    for part in seen.dead_parts:
        if part.status is None and not _left_by_an_error(part, seen):
            return End(None, Evidence(PROCESS, f"{part.name} (pid {part.pid}): gone without a word"))
    if seen.exit_status is not None and seen.exit_status < 0:
        return End(seen.exit_status, Evidence(EXIT, _name(seen.exit_status)))
    return logged or _silent_end(seen)


def _left_by_an_error(part: DeadPart, seen: Observations) -> bool:
    """Whether the log has the exception by which a process left, or by which the API server ended all of them."""
    if seen.log.late is not None:
        return True
    words = next((names for begin, names in _OWN_WORDS.items() if part.name.startswith(begin)), ())
    said = [hit.number for hit in seen.log.of(Role.CONSEQUENCE) if hit.signature in words]
    return bool(said) and any(hit.number > said[0] for hit in seen.log.of(Role.NOTE))


def _logged_status(seen: Observations) -> End | None:
    for hit in seen.log.hits:
        if hit.cause == "killed":
            return End(-signal.SIGKILL, of_hit(hit), observed=False)
        if hit.role is not Role.CONSEQUENCE:
            continue
        match = _LOG_STATUS.search(hit.text)
        status = int(match[1]) if match else None
        # The engine itself ends its remaining parts by SIGTERM, and what fails of another's end leaves with 1.
        if status is not None and status != -signal.SIGTERM and (status < 0 or hit.signature in _OF_WORKERS):
            return End(status, of_hit(hit), observed=bool(seen.dead_parts))
        if seen.log.from_start and hit.signature == "worker-died" and not match:
            return End(None, of_hit(hit), observed=False)
    return None


def _silent_end(seen: Observations) -> End | None:
    """In a whole log, a process whose end others report and that said nothing itself."""
    if not seen.log.from_start or seen.log.of(Role.HINT):
        return None
    first = {hit.signature: hit for hit in reversed(seen.log.of(Role.CONSEQUENCE))}
    spoke = min((hit.number for hit in seen.log.of(Role.NOTE)), default=seen.log.lines)
    for reported, own_words in _REPORTS:
        if reported in first and not any(word in first for word in own_words) and first[reported].number <= spoke:
            return End(None, of_hit(first[reported]), observed=False)
    return None


def _killed(seen: Observations, evidence: tuple[Evidence, ...], confidence: Confidence, *, known: bool) -> Diagnosis:
    memory = seen.memory
    looked = memory.kills is not None or memory.machine_kills is not None
    if memory.kills is None and memory.machine_kills:
        word = Evidence("/proc/vmstat", f"oom_kill +{memory.machine_kills}")
        return found("machine-out-of-memory", Confidence.LIKELY, (*evidence, word))
    if not looked and memory.limit_bytes and (memory.peak_bytes or 0) >= AT_LIMIT_SHARE * memory.limit_bytes:
        cause = "memory-limit-serving" if seen.ready else "memory-limit-loading"
        peak, limit = format_size(memory.peak_bytes or 0), format_size(memory.limit_bytes)
        return found(cause, Confidence.LIKELY, (*evidence, Evidence(EVENTS, f"peak {peak} of {limit}")))
    if looked:
        return found("part-killed", confidence, evidence)
    remedy = "see whether the kernel did it (`journalctl -k | grep -i 'out of memory'`), and who else could have"
    if known and not (seen.ready or seen.log.serving):
        # While weights are loaded hardly anything else sends this signal.
        return found("machine-out-of-memory", Confidence.POSSIBLE, evidence, remedy)
    return found("part-killed", Confidence.POSSIBLE, evidence, remedy)


def _frames(seen: Observations) -> tuple[Evidence, ...]:
    return tuple(of_hit(hit) for hit in seen.log.hits if hit.signature == "crash-frame")


def _name(status: int) -> str:
    try:
        return f"ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"ended by signal {-status}"

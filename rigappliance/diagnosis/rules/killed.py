"""Killed by the kernel for want of memory: at the unit's limit, on a full machine, or with the swap full."""

from __future__ import annotations

import signal

from rigappliance.diagnosis.finding import EVENTS, JOURNAL, KERNEL, MACHINE, found
from rigappliance.diagnosis.kernellog import OomKill, free_swap, is_engine_name, oom_kills
from rigappliance.diagnosis.observations import Observations
from rigappliance.diagnosis.result import Confidence, Diagnosis, Evidence
from rigappliance.units import format_size

# Less free swap than this is none.
NO_SWAP_BYTES = 64 << 20
NO_SWAP_SHARE = 0.01
_JOURNAL_WORDS = ("result 'oom-kill'", "killed by the OOM killer", "Result=oom-kill")


def by_the_kernel(seen: Observations) -> Diagnosis | None:
    kill = our_kill(seen)
    journal = [line for line in seen.journal_lines if any(word in line for word in _JOURNAL_WORDS)]
    if not (kill or seen.memory.kills or (journal and seen.memory.kills is None)) or not _fits(seen):
        return None
    evidence = [
        *([Evidence(KERNEL, kill.line)] if kill else []),
        *([Evidence(EVENTS, counters(seen))] if seen.memory.kills else []),
        *[Evidence(JOURNAL, line) for line in journal[:1]],
    ]
    if swap := swap_exhausted(seen):
        return found("swap-exhausted", Confidence.LIKELY, (*evidence, swap))
    at_limit = kill.limit if kill else bool(seen.memory.limit_hits)
    confidence = Confidence.CERTAIN if kill or seen.memory.limit_hits is not None else Confidence.LIKELY
    if not at_limit:
        return found("machine-out-of-memory", confidence, (*evidence, *swap_left(seen)))
    cause = "memory-limit-serving" if seen.ready else "memory-limit-loading"
    return found(cause, confidence, (*evidence, *swap_left(seen)), _remedy(seen))


def our_kill(seen: Observations) -> OomKill | None:
    """The kernel's report of the kill that ended the engine; other programs are killed as well."""
    if seen.memory.kills == 0:
        return None
    pids = {part.pid for part in seen.dead_parts}
    kills = list(oom_kills(seen.kernel_lines))
    ours = [kill for kill in kills if kill.pid in pids]
    if not ours and (not pids or (seen.exit_status or 0) < 0):
        ours = [kill for kill in kills if is_engine_name(kill.task)]
    if not ours and seen.memory.kills:
        ours = kills
    # The line with the constraint says most; the one after it repeats a part.
    return next((kill for kill in ours if "constraint=" in kill.line), ours[0] if ours else None)


def counters(seen: Observations) -> str:
    memory = seen.memory
    words = [f"oom_kill +{memory.kills}"]
    words += [f"oom +{memory.limit_hits}"] if memory.limit_hits is not None else []
    words += [f"memory.max {format_size(memory.limit_bytes)}"] if memory.limit_bytes is not None else []
    words += [f"memory.peak {format_size(memory.peak_bytes)}"] if memory.peak_bytes is not None else []
    return ", ".join(words)


def swap_exhausted(seen: Observations) -> Evidence | None:
    """The word that says so, where the swap was full before the engine was ready."""
    if seen.ready:
        return None
    if seen.memory.swap_refusals:
        return Evidence("memory.swap.events", f"fail +{seen.memory.swap_refusals}: pages found no room in the swap")
    total, low = seen.memory.swap_total_bytes, seen.memory.swap_free_low_bytes
    if total is None or low is None:
        swap = free_swap(seen.kernel_lines)
        if swap is None:
            return None
        low, total = swap
    if not total or low >= max(NO_SWAP_BYTES, NO_SWAP_SHARE * total):
        return None
    return Evidence(MACHINE, f"of {format_size(total)} swap {format_size(low)} were free at the least")


def swap_left(seen: Observations) -> list[Evidence]:
    total, low = seen.memory.swap_total_bytes, seen.memory.swap_free_low_bytes
    if total is None or low is None:
        return []
    words = f"swap never had less than {format_size(low)} of {format_size(total)} free" if total else "there is no swap"
    return [Evidence(MACHINE, words)]


def _fits(seen: Observations) -> bool:
    """A kill of some helper long ago did not end an engine whose parts all ended by something else."""
    statuses = [part.status for part in seen.dead_parts]
    statuses += [seen.exit_status] if seen.exit_status is not None and seen.exit_status < 0 else []
    return not statuses or any(status in (None, -signal.SIGKILL) for status in statuses)


def _remedy(seen: Observations) -> str:
    limit = seen.memory.limit_bytes
    if limit is None:
        return ""
    if seen.ready:
        return f"raise memory.max (it was {format_size(limit)}) or lower engine.max_num_seqs if it happens again"
    return (
        f"raise memory.max (it was {format_size(limit)}), add swap, or lower engine.tensor_parallel "
        "or engine.max_num_seqs"
    )

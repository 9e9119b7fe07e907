"""What the log itself names."""

from __future__ import annotations

from rigappliance.diagnosis.finding import MACHINE, found, of_hit
from rigappliance.diagnosis.kernellog import disk_faults
from rigappliance.diagnosis.logevidence import Hit, LogEvidence
from rigappliance.diagnosis.observations import Observations
from rigappliance.diagnosis.remedies import remedy_for
from rigappliance.diagnosis.result import Confidence, Diagnosis, Evidence
from rigappliance.diagnosis.rules.killed import swap_exhausted
from rigappliance.diagnosis.signature import Role
from rigappliance.diagnosis.signatures import BY_NAME
from rigappliance.launch.phases import Phase

# Families that other rules settle.
_SETTLED_ELSEWHERE = ("killed",)
ALSO_SHOWN = 3
_OF_A_SERVER = {"core-fatal", "output-handler", "engine-dead", "v0-background"}
_OF_A_START = {"core-start", "worker-start", "core-init", "worker-init"}


def told_its_end(log: LogEvidence) -> bool:
    """Whether it names a cause and says, too, that something ended by it."""
    return bool(log.of(Role.ROOT)) and bool(log.of(Role.CONSEQUENCE))


def first_root(seen: Observations) -> Diagnosis | None:
    """Whatever failed first made the rest fail."""
    roots = seen.log.of(Role.ROOT)
    return _from(roots[0], seen) if roots else None


def first_hint(seen: Observations) -> Diagnosis | None:
    hints = [hit for hit in seen.log.of(Role.HINT) if hit.cause not in _SETTLED_ELSEWHERE]
    return _from(hints[0], seen) if hints else None


def _from(hit: Hit, seen: Observations) -> Diagnosis:
    cause, more = settle(hit, seen)
    signature = BY_NAME.get(hit.signature)
    confidence = signature.confidence if signature and cause == hit.cause else Confidence.LIKELY
    if signature and cause.startswith(f"{hit.cause}-") and (seen.log.from_start or seen.phase is not Phase.PROCESS):
        confidence = signature.confidence
    also = [other for other in seen.log.hits if other.number > hit.number and _adds(other, hit)][:ALSO_SHOWN]
    evidence = (of_hit(hit), *more, *(of_hit(other) for other in also))
    return found(cause, confidence, evidence, remedy_for(cause, hit.text))


def _adds(other: Hit, hit: Hit) -> bool:
    return other.signature == "crash-frame" or (other.cause == hit.cause and other.signature != hit.signature)


def settle(hit: Hit, seen: Observations) -> tuple[str, tuple[Evidence, ...]]:
    """The cause that a hit's family means here, and what else speaks for it."""
    match hit.cause:
        case "card-memory" | "card-memory-serving":
            return _card_memory(hit, seen), ()
        case "bus-error":
            return bus_error(seen)
        case "checkpoint-missing" if seen.unreadable:
            # The engine takes a directory that it may not list for an empty one, or for none.
            return "checkpoint-unreadable", (Evidence(MACHINE, f"{seen.unreadable[0]}: permission denied"),)
        case "allocation-refused" if swap := swap_exhausted(seen):
            return "swap-exhausted", (swap,)
    return hit.cause, ()


def _card_memory(hit: Hit, seen: Observations) -> str:
    said = {other.signature for other in seen.log.of(Role.CONSEQUENCE)}
    # Of a log without its beginning, only what is around it tells that it had come up.
    cut = not seen.log.from_start and seen.phase is Phase.PROCESS and not said & _OF_A_START
    graphs = "private pools" in hit.text
    served = cut and (graphs or bool(said & _OF_A_SERVER) or hit.cause == "card-memory-serving")
    if seen.ready or seen.log.serving or seen.phase >= Phase.HTTP or served:
        return "card-memory-serving"
    if hit.cause == "card-memory-serving" or seen.phase > Phase.WEIGHTS:
        return "card-memory-profiling"
    return "card-memory-loading"


def bus_error(seen: Observations) -> tuple[str, tuple[Evidence, ...]]:
    """A page of a mapped file that is not there: shared memory without room, or a disk that cannot be read."""
    shared = [other for other in seen.log.hits if other.cause == "shared-memory-full" or "/dev/shm" in other.text]  # noqa: S108
    if shared:
        return "shared-memory-full", (of_hit(shared[0]),)
    faults = disk_faults(seen.kernel_lines)
    if faults:
        return "disk-failing", (Evidence("kernel log", faults[0]),)
    return "part-crashed", ()

"""A rig's own numbers in place of the shipped ones, from a start: the engine's log, its processes, its cards."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import mean

from rigappliance.launch.treememory import ProcessMemory
from rigappliance.plan.coefficients import Coefficient, Coefficients
from rigappliance.plan.host import peers_bytes
from rigappliance.plan.memory import CardPlan

GIB = 1 << 30
NUMBER = r"([\d.]+)"
# What the engine itself measured, by the name of what it is: logger calls of v1/worker/gpu_worker.py and
# gpu_model_runner.py.
LINES = {
    "kv-cache": re.compile(rf"Available KV cache memory: {NUMBER} GiB"),
    "graphs-estimated": re.compile(rf"Estimated CUDA graph memory: {NUMBER} GiB total"),
    "graphs": re.compile(rf"CUDA graph pool memory: {NUMBER} GiB \(actual\)"),
    "weights": re.compile(rf"Model loading took {NUMBER} GiB memory"),
}
# Another start follows in the same log.
BEGIN = "non-default args:"


@dataclass(frozen=True)
class Seen:
    """What one start said of its memory, in bytes by the names of ``LINES``; of ranks that differ, the largest, and of
    the KV cache the smallest."""

    sizes_bytes: dict[str, int]


def read_log(lines: Iterable[str]) -> Seen:
    """Of the last start in the log."""
    sizes: dict[str, int] = {}
    for line in lines:
        if BEGIN in line:
            sizes = {}
        for name, pattern in LINES.items():
            if match := pattern.search(line):
                size = round(float(match[1]) * GIB)
                best = min if name == "kv-cache" else max
                sizes[name] = best(sizes.get(name, size), size)
    return Seen(sizes)


def from_log(seen: Seen, card: CardPlan, numbers: Coefficients, graphs: int) -> Iterator[Coefficient]:
    """The numbers that a log tells; ``card`` is the plan of the same start, ``graphs`` how many it captured."""
    pool = seen.sizes_bytes.get("graphs", seen.sizes_bytes.get("graphs-estimated"))
    if pool is not None and graphs:
        derived = card.budget.bytes_of("graphs") - numbers.size_bytes("vram.graphs")
        yield measured("vram.graphs", max(0, pool - derived), f"{graphs} graphs, less what is derived of them")
    cache = seen.sizes_bytes.get("kv-cache")
    if cache is None:
        return
    # What the engine found beside what is known: its budget less all the other lines and the cache that it was left.
    counted = {line.name: line.size_bytes for line in card.budget.lines if line.name not in ("kv-cache", "non-torch")}
    if "weights" in seen.sizes_bytes:
        # The log rounds to 10 MiB, and counts the allocator's slack with them.
        counted["weights"] = seen.sizes_bytes["weights"]
        counted["allocator-slack"] = 0
    if pool is not None:
        counted["graphs"] = seen.sizes_bytes.get("graphs-estimated", pool)
    yield measured(
        "vram.non_torch",
        max(0, card.budget.capacity_bytes - sum(counted.values()) - cache),
        "the budget less the KV cache that the engine was left with, and less what is known",
    )


def from_cards(used_bytes: Sequence[int], card: CardPlan, numbers: Coefficients) -> Iterator[Coefficient]:
    """What a serving card holds beyond the ledger's other lines: CUDA's context."""
    known = sum(line.size_bytes for line in card.ledger.lines if line.name not in ("cuda-context", "sampling"))
    if used_bytes:
        value = max(0, max(used_bytes) - known)
        yield measured("vram.cuda_context", value, "memory in use on the fullest card while it serves, less the rest")


def from_processes(
    processes: Sequence[ProcessMemory], numbers: Coefficients, device: str, start: str
) -> Iterator[Coefficient]:
    """Memory of a serving engine's processes, by what they are, swap included.

    Where they are forked from one (``start`` is "shared"), what they share counts once, and of each what is its own.
    """
    shared = start == "shared"
    own = "_own" if shared else ""
    how = "pages of its own and swap" if shared else "PSS and swap"

    def of(begin: str) -> list[int]:
        found = [each for each in processes if each.name.startswith(begin)]
        return [(each.own_bytes if shared else each.pss_bytes) + each.swap_bytes for each in found]

    if shared:
        common = sum(each.pss_bytes - each.own_bytes for each in processes)
        yield measured("host.imports", common, "pages that its processes share, while it serves")
    for name, begin in (("host.api_server", "API server"), ("host.engine_core", "EngineCore")):
        if sizes := of(begin):
            yield measured(name + own, sum(sizes), f"{how} while it serves")
    workers = of("Worker")
    if workers and device == "cuda":
        worker = f"host.worker{own}"
        peers = peers_bytes(len(workers), numbers)
        value = max(0, round(mean(workers)) - numbers.size_bytes(worker) - peers)
        less = f"{worker} and host.peers" if peers else worker
        yield measured("host.cuda_serving", value, f"{how} of {len(workers)} workers, less {less}")


def measured(name: str, value: int, how: str) -> Coefficient:
    return Coefficient(name, float(value), "bytes", f"this rig: {how}", time.strftime("%Y-%m-%d"))


def as_toml(found: Iterable[Coefficient]) -> str:
    """A file that ``read_coefficients`` reads."""
    parts = ["# This rig's own numbers, by `rigappliance calibrate`. Without this file the shipped ones count.\n"]
    for one in found:
        # A TOML string is written as a JSON string is.
        source = json.dumps(one.source)
        parts.append(
            f'[{one.name}]\nvalue = {one.value}\nunit = "{one.unit}"\nsource = {source}\ndate = "{one.date}"\n'
        )
    return "\n".join(parts)

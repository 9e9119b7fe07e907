"""The stock loader and others over one checkpoint: N ranks, little memory, a cold cache, a hard disk's model.

    python -m bench.load [--ranks 8] [--runs 5] [--disk hdd|fast] [--variants stock ours ...]

The checkpoint has the tensors of Qwen2.5-72B-Instruct-GPTQ-Int8 in two layers (bench/loadwork/checkpoint.py), each rank
is a process with the engine's own model class, and all of them start at once in a group whose memory is a fifth of the
checkpoint, which only what the loading itself takes is charged to. The disk is bench/hdd. In every round each variant
has its turn, and one sequential read of the same files (dd bs=1M), which is what ratios are against. Every variant's
parameters are compared with those of the stock loader, byte by byte.

--disk fast: the same files from the page cache, no limit: what a loader costs where the disk does not matter.
It needs root, /dev/fuse and the engine.
"""

from __future__ import annotations

import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from bench.common import finish, parser, spread
from bench.hdd import Counts, DiskModel, HardDisk, mounted, unavailable
from bench.loadwork import groups
from bench.loadwork.checkpoint import write_checkpoint
from bench.loadwork.rival import FILE, rival, write_file
from bench.loadwork.team import Team, team
from rigappliance.units import format_size


@dataclass(frozen=True)
class Variant:
    """``options`` are those of the engine's LoadConfig; ``None`` reads a file of the rank's own."""

    name: str
    what: str
    options: dict[str, Any] | None = field(default_factory=dict)
    read_ahead_kib: int = 128
    outside: bool = False


VARIANTS = (
    Variant("stock", "as it comes: every rank maps every shard"),
    Variant("stock-1m", "read-ahead of the disk 1 MiB", read_ahead_kib=1024),
    Variant("stock-4m", "read-ahead of the disk 4 MiB", read_ahead_kib=4096),
    Variant("prefetch", "safetensors_load_strategy prefetch", {"safetensors_load_strategy": "prefetch"}),
    Variant("eager", "safetensors_load_strategy eager", {"safetensors_load_strategy": "eager"}),
    Variant("outside", "an outside process reads all shards in order, uncoordinated", outside=True),
    Variant("sharded", "every rank reads a file of its own", None),
    Variant("ours", "load format sequential", {"load_format": "sequential"}),
)
STOCK, SHARDED, EAGER = VARIANTS[0], VARIANTS[6], VARIANTS[4]


@dataclass(frozen=True)
class Run:
    seconds: float
    skew_s: float = 0.0
    cpu_s: float = 0.0
    disk: Counts | None = None
    usage: groups.Usage | None = None


@dataclass
class Bench:
    """One number of ranks. ``mount`` makes a fresh disk; without it, the page cache is the disk."""

    source: Path
    ranks: Team
    mount: Callable[[], AbstractContextManager[HardDisk]] | None
    limit_bytes: int
    stagger_s: float
    rival_reads_s: float = 0.0
    right: tuple[dict[str, int], ...] = ()
    disk: HardDisk | None = None
    group: groups.Group | None = None
    counts: Counts | None = None
    usage: groups.Usage | None = None

    def prepare(self, own_files: bool) -> None:
        """The stock loader on an idle machine says which bytes are right; a first load also pays for what stays."""
        loaded = self.ranks.load(
            self.source, STOCK.options, doors=[], home=[], outside=False, before=nothing, after=nothing
        )
        if loaded.errors:
            raise RuntimeError("; ".join(loaded.errors))
        self.right = loaded.digests
        if own_files:
            (self.source / "ranks").mkdir(exist_ok=True)
            self.ranks.write_own_files(self.source)
            os.sync()

    @contextmanager
    def cold(self, read_ahead_kib: int) -> Iterator[tuple[Path, list[str]]]:
        """Where the checkpoint is now, and the doors of a fresh group; nothing of the checkpoint is in memory.

        The disk is mounted anew, since emptying the cache of one leaves the kernel's notes on what it has dropped
        before, and then a first read counts as a refault.
        """
        if self.mount is None:
            yield self.source, []
            return
        name = f"rigbench-load-{os.getpid()}"
        with self.mount() as self.disk, groups.limited(name, self.limit_bytes) as self.group:
            self.disk.set_read_ahead(read_ahead_kib)
            with rival(self.disk.path, self.rival_reads_s):
                yield self.disk.path, self.group.doors

    def start(self) -> None:
        if self.disk:
            self.disk.zero()

    def stop(self) -> None:
        self.counts = self.disk.counts() if self.disk else None
        self.usage = self.group.usage() if self.group else None

    def run(self, variant: Variant) -> Run:
        home = groups.home_doors(self.ranks.process.pid)
        with self.cold(variant.read_ahead_kib) as (directory, doors):
            loaded = self.ranks.load(
                directory, variant.options, doors=doors, home=home if doors else [],
                outside=variant.outside, stagger_s=self.stagger_s, before=self.start, after=self.stop,
            )  # fmt: skip
        if loaded.errors:
            raise RuntimeError(f"{variant.name}: {'; '.join(loaded.errors)}")
        wrong = [
            f"rank {rank}: {name}"
            for rank, (right, got) in enumerate(zip(self.right, loaded.digests, strict=True))
            for name in right
            if got.get(name) != right[name]
        ]
        if wrong:
            raise RuntimeError(f"{variant.name} loaded other bytes than stock: {', '.join(wrong[:5])} ({len(wrong)})")
        return Run(loaded.seconds, loaded.skew_s, loaded.cpu_s, self.counts, self.usage)

    def sequential(self) -> Run:
        with self.cold(128) as (directory, doors):
            shards = sorted(directory.glob("*.safetensors"))
            self.start()
            begin = time.monotonic()
            for shard in shards:
                subprocess.run(
                    ["dd", f"if={shard}", "of=/dev/null", "bs=1M", "status=none"],
                    check=True,
                    preexec_fn=lambda: groups.enter(doors),
                )
            seconds = time.monotonic() - begin
            self.stop()
        return Run(seconds, disk=self.counts, usage=self.usage)


def nothing() -> None:
    pass


def left_out(variant: Variant, source: Path, ranks: int, limit_bytes: int, disk: str) -> str:
    """Why a variant cannot run; empty where it can."""
    if variant == EAGER and disk == "hdd":
        largest = max(path.stat().st_size for path in source.glob("*.safetensors"))
        if ranks * largest > limit_bytes:
            return f"does not fit: {ranks} ranks times a shard of {format_size(largest)} in {format_size(limit_bytes)}"
    return ""


def medians(runs: list[Run], base: list[Run], checkpoint_bytes: int) -> dict[str, Any]:
    """Ratios are taken within a round, against that round's sequential read."""
    ratios = [run.seconds / against.seconds for run, against in zip(runs, base, strict=True)]
    result: dict[str, Any] = {
        "seconds": [run.seconds for run in runs],
        "median_s": statistics.median(run.seconds for run in runs),
        "ratios": ratios,
        "median_ratio": statistics.median(ratios),
        "skew_s": statistics.median(run.skew_s for run in runs),
        "cpu_s": statistics.median(run.cpu_s for run in runs),
    }
    disks = [run.disk.without(FILE) for run in runs if run.disk]
    if disks:
        result |= {
            "bytes_ratio": statistics.median(disk.bytes / checkpoint_bytes for disk in disks),
            "reads": statistics.median(disk.requests for disk in disks),
            "mean_read_bytes": statistics.median(disk.mean_bytes for disk in disks),
            "seeks": statistics.median(disk.seeks for disk in disks),
            "disk_busy_s": statistics.median(disk.busy_s for disk in disks),
            "disk_lost_s": max(disk.lost_s for disk in disks),
            "longest_queue": max(disk.longest_queue for disk in disks),
        }
    usages = [run.usage for run in runs if run.usage]
    if usages:
        result |= {
            "peak_bytes": max(usage.peak_bytes for usage in usages),
            "refaults": statistics.median(usage.refaults for usage in usages),
            "reclaims": statistics.median(usage.reclaims for usage in usages),
            "stalled_s": {
                kind: statistics.median(usage.stalled_s.get(kind, 0.0) for usage in usages) for kind in groups.PRESSURES
            },
        }
    return result


def row(found: dict[str, Any], ratios: list[float], seconds: list[float]) -> str:
    text = f"{spread(seconds)} s, {spread(ratios)} of sequential"
    if "reads" in found:
        text += (
            f", {found['bytes_ratio']:.3f} of the bytes, {found['reads']:.0f} reads of "
            f"{format_size(int(found['mean_read_bytes']))}, {found['seeks']:.0f} seeks, disk busy "
            f"{found['disk_busy_s']:.1f} s"
        )
    if "peak_bytes" in found:
        stalled = " ".join(f"{kind} {seconds:.1f}" for kind, seconds in found["stalled_s"].items())
        text += (
            f", peak {format_size(found['peak_bytes'])}, {found['refaults']:.0f} refaults, "
            f"{found['reclaims']:.0f} times at the limit, stalled s: {stalled}"
        )
    return text + f", skew {found['skew_s']:.1f} s, CPU {found['cpu_s']:.1f} s"


def measure(bench: Bench, variants: list[Variant], runs: int, checkpoint_bytes: int, label: str) -> Any:
    found: dict[str, list[Run]] = {"sequential": [], **{variant.name: [] for variant in variants}}
    for number in range(runs):
        found["sequential"].append(bench.sequential())
        for variant in variants:
            found[variant.name].append(bench.run(variant))
            last, base = found[variant.name][-1], found["sequential"][-1]
            told = row(medians([last], [base], checkpoint_bytes), [last.seconds / base.seconds], [last.seconds])
            print(f"{label}, round {number + 1} of {runs}, {variant.name}: {told}", file=sys.stderr, flush=True)
    return {name: medians(done, found["sequential"], checkpoint_bytes) for name, done in found.items()}


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--ranks", type=int, nargs="+", default=[8])
    arguments.add_argument("--runs", type=int, default=5)
    arguments.add_argument("--layers", type=int, default=2, help="of the real model's 80; a layer has 0.9 GB")
    arguments.add_argument("--vocabulary", type=int, default=8192, help="the real model's: 152064")
    arguments.add_argument("--shards", type=int, default=4)
    arguments.add_argument("--checkpoint", type=Path, help="made there if it is missing, and kept; default: made anew")
    arguments.add_argument("--limit-share", type=float, default=0.2, help="memory of the group over the checkpoint")
    arguments.add_argument("--disk", choices=("hdd", "fast"), default="hdd")
    arguments.add_argument("--fifo", action="store_true", help="the disk serves in the order of arrival")
    arguments.add_argument("--stagger-s", type=float, default=0.0, help="seconds between the starts of two ranks")
    arguments.add_argument("--rival", type=float, default=0.0, help="random reads a second by somebody else (swap)")
    arguments.add_argument("--variants", nargs="+", default=[variant.name for variant in VARIANTS])
    chosen = arguments.parse_args()
    reason = unavailable()
    if reason:
        print(reason, file=sys.stderr)
        return 2
    # What it mounted and made has to go whatever ends it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    root = Path(tempfile.mkdtemp(prefix="rigbench-load-"))
    try:
        source = chosen.checkpoint or root / "checkpoint"
        if not source.exists():
            write_checkpoint(source, chosen.layers, chosen.vocabulary, chosen.shards)
        total = sum(path.stat().st_size for path in source.glob("*.safetensors"))
        limit = int(total * chosen.limit_share)
        results, rows = {}, [("checkpoint", f"{format_size(total)}, limit {format_size(limit)}")]
        for ranks in chosen.ranks:
            wanted = [variant for variant in VARIANTS if variant.name in chosen.variants]
            reasons = {variant.name: left_out(variant, source, ranks, limit, chosen.disk) for variant in wanted}
            wanted = [variant for variant in wanted if not reasons[variant.name]]
            with team(chosen.engine_python, source, ranks, root / "ranks.log") as people:
                mount = partial(mounted, source, fifo=chosen.fifo) if chosen.disk == "hdd" else None
                bench = Bench(source, people, mount, limit, chosen.stagger_s, chosen.rival)
                if chosen.rival:
                    write_file(source)
                # Before a disk is mounted: it serves what is there at that time.
                bench.prepare(SHARDED in wanted)
                found = measure(bench, wanted, chosen.runs, total, f"{ranks} ranks")
            for name, one in found.items():
                rows.append((f"{ranks} ranks, {name}", row(one, one["ratios"], one["seconds"])))
            rows += [(f"{ranks} ranks, {name}", why) for name, why in reasons.items() if why]
            results[str(ranks)] = {"measured": found, "left_out": {name: why for name, why in reasons.items() if why}}
        told = {
            "disk": chosen.disk, "model": asdict(DiskModel()), "elevator": not chosen.fifo, "runs": chosen.runs,
            "checkpoint_bytes": total, "limit_bytes": limit, "layers": chosen.layers,
            "vocabulary": chosen.vocabulary, "shards": chosen.shards, "stagger_s": chosen.stagger_s,
            "rival_reads_s": chosen.rival,
            "variants": {variant.name: variant.what for variant in VARIANTS}, "by_ranks": results,
        }  # fmt: skip
        finish("load" if chosen.disk == "hdd" else "load_fast", chosen.output, told, rows)
    except RuntimeError as error:
        log = root / "ranks.log"
        tail = log.read_text(errors="replace").splitlines()[-20:] if log.exists() else []
        print(*tail, error, sep="\n", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(root)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The ways to load, and one turn of each: a fresh disk, a fresh group, and its bytes against the stock loader's."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.hdd import Counts, HardDisk
from bench.loadwork import groups
from bench.loadwork.figures import Run
from bench.loadwork.rival import rival
from bench.loadwork.team import Team
from rigappliance.loader.cached import pages_cached
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


@dataclass
class Bench:
    """One number of ranks. ``mount`` makes a fresh disk; without it, the files are read where they lie.

    ``forgotten``: the page cache has nothing of them then.
    """

    source: Path
    ranks: Team
    mount: Callable[[], AbstractContextManager[HardDisk]] | None
    limit_bytes: int
    stagger_s: float
    rival_reads_s: float = 0.0
    forgotten: bool = False
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
        """Just before anybody reads: memory that was free for seconds, a virtual machine may have given away."""
        if self.forgotten:
            forget(self.source)
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


def left_out(variant: Variant, source: Path, ranks: int, limit_bytes: int, disk: str) -> str:
    """Why a variant cannot run; empty where it can."""
    if variant == EAGER and disk == "hdd":
        largest = max(path.stat().st_size for path in source.glob("*.safetensors"))
        if ranks * largest > limit_bytes:
            return f"does not fit: {ranks} ranks times a shard of {format_size(largest)} in {format_size(limit_bytes)}"
    return ""


def forget(directory: Path) -> None:
    """Have the page cache drop the shards. Raises ``RuntimeError`` where it keeps any of them."""
    os.sync()
    for path in directory.glob("*.safetensors"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            if pages_cached(file.fileno(), 0, path.stat().st_size):
                raise RuntimeError(f"{path.name} stays in the page cache; is it in use?")


def nothing() -> None:
    pass

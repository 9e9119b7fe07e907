"""The stock loader and others over one checkpoint: N ranks, little memory, a cold cache, a hard disk's model.

    python -m bench.load [--ranks 8] [--runs 5] [--disk hdd|fast|cache] [--variants stock ours ...]

The checkpoint has the tensors of Qwen2.5-72B-Instruct-GPTQ-Int8 in two layers (bench/loadwork/checkpoint.py), each rank
is a process with the engine's own model class, and all of them start at once in a group whose memory is a fifth of the
checkpoint, which only what the loading itself takes is charged to. The disk is bench/hdd. In every round each variant
has its turn, and one sequential read of the same files (dd bs=1M), which is what ratios are against. Every variant's
parameters are compared with those of the stock loader, byte by byte.

--disk fast: the same files on the disk of the machine, of which nothing is in memory, no limit; --disk cache: from the
page cache, what a loader costs where no disk matters. It needs root, /dev/fuse and the engine.
"""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from bench.common import finish, parser
from bench.hdd import DiskModel, mounted, unavailable
from bench.loadwork.backed import all_memory_backed
from bench.loadwork.checkpoint import write_checkpoint
from bench.loadwork.figures import Run, medians, over, row
from bench.loadwork.rival import write_file
from bench.loadwork.team import team
from bench.loadwork.turns import SHARDED, STOCK, VARIANTS, Bench, Variant, left_out
from rigappliance.units import format_size


def measure(bench: Bench, variants: list[Variant], runs: int, checkpoint_bytes: int, label: str) -> Any:
    found: dict[str, list[Run]] = {"sequential": [], **{variant.name: [] for variant in variants}}
    for number in range(runs):
        found["sequential"].append(bench.sequential())
        for variant in variants:
            found[variant.name].append(bench.run(variant))
            last, base = found[variant.name][-1], found["sequential"][-1]
            told = row(medians([last], [base], checkpoint_bytes), [last.seconds / base.seconds], [last.seconds])
            print(f"{label}, round {number + 1} of {runs}, {variant.name}: {told}", file=sys.stderr, flush=True)
    result = {name: medians(done, found["sequential"], checkpoint_bytes) for name, done in found.items()}
    if STOCK.name in found:
        for name, done in found.items():
            result[name]["over_stock"] = over(done, found[STOCK.name])
    return result


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--ranks", type=int, nargs="+", default=[8])
    arguments.add_argument("--runs", type=int, default=5)
    arguments.add_argument("--layers", type=int, default=2, help="of the real model's 80; a layer has 0.9 GB")
    arguments.add_argument("--vocabulary", type=int, default=8192, help="the real model's: 152064")
    arguments.add_argument("--shards", type=int, default=4)
    arguments.add_argument("--checkpoint", type=Path, help="made there if it is missing, and kept; default: made anew")
    arguments.add_argument("--limit-share", type=float, default=0.2, help="memory of the group over the checkpoint")
    arguments.add_argument("--disk", choices=("hdd", "fast", "cache"), default="hdd")
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
                bench = Bench(source, people, mount, limit, chosen.stagger_s, chosen.rival, chosen.disk == "fast")
                if chosen.rival:
                    write_file(source)
                # Before a disk is mounted: it serves what is there at that time.
                bench.prepare(SHARDED in wanted)
                with nullcontext() if chosen.disk == "hdd" else all_memory_backed():
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
        finish("load" if chosen.disk == "hdd" else f"load_{chosen.disk}", chosen.output, told, rows)
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

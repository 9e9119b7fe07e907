"""Healthy starts and stops of the stand-in with random timing: how many are called failures, how many are given up.

    python -m bench.false_alarms [--starts 100] [--at-once 2] [--seed 1]

Up to three phases of each are up to 100 × as slow as usual.  It is stopped at a random moment: before the engine is
there, during any phase, or while it serves.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.common import finish, parser
from tests.unit.launch.healthy import Healthy, healthy_start
from tests.unit.launch.rig import make_engine

PACE = 0.01


def place_of(run: Healthy) -> str:
    return "serving" if run.ready else run.phase or "before the engine"


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--starts", type=int, default=100)
    arguments.add_argument("--at-once", type=int, default=2)
    arguments.add_argument("--seed", type=int, default=1)
    chosen = arguments.parse_args()
    root = Path(tempfile.mkdtemp(prefix="rigbench-"))
    make_engine(root)
    rng = random.Random(chosen.seed)
    seeds = [rng.randrange(2**32) for _ in range(chosen.starts)]

    def one(number: int) -> Healthy:
        place = root / f"start{number}"
        place.mkdir()
        done = healthy_start(number, place, root, random.Random(seeds[number]), PACE)
        said = "" if done.clean else f"  {done.alarms} {(place / 'launch.err').read_text()[-2000:]}"
        print(f"{number + 1:>3} {done.elapsed_s:>6.1f} s  stopped in {place_of(done):<14}{said}", flush=True)
        return done

    with ThreadPoolExecutor(chosen.at_once) as pool:
        runs = list(pool.map(one, range(chosen.starts)))
    alarms = Counter(alarm for run in runs for alarm in run.alarms)
    places = Counter(place_of(run) for run in runs)
    unclean = sum(not run.clean for run in runs)
    slowest = max((factor for run in runs for factor in run.slow.values()), default=1.0)
    finish(
        "false_alarms",
        chosen.output,
        {
            "seed": chosen.seed,
            "starts": len(runs),
            "causes_reported": sum(alarms.values()),
            "given_up": sum(run.given_up for run in runs),
            "unclean": unclean,
            "stopped_in": dict(places),
            "runs": [run.as_dict() for run in runs],
        },
        [
            ("healthy starts and stops", str(len(runs))),
            ("slowest phase", f"{slowest:.0f} × the usual"),
            ("longest start", f"{max(run.elapsed_s for run in runs):.1f} s"),
            ("causes reported", f"{sum(alarms.values())} {dict(alarms) or ''}".strip()),
            ("starts given up", str(sum(run.given_up for run in runs))),
            *((f"stopped in {place}", str(count)) for place, count in places.most_common()),
        ],
    )
    return 1 if unclean else 0


if __name__ == "__main__":
    sys.exit(main())

"""Twenty launches in a row: ten stopped by SIGTERM in random phases, five whose supervisor is killed, five served.

    python -m bench.leftovers [--seed 1]

After each, everything that carries its run id, every new segment below
/dev/shm, every run directory and the port are looked for.
"""

from __future__ import annotations

import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path

from bench.common import engine_home, finish, parser
from tests.engine.launching import Launch

PHASES = ["before the engine", "process start", "config", "workers", "weights", "compile", "HTTP", "ready"]
# A supervisor that was killed has a guard that ends the engine.
KILLED_LIMIT_S = 10.0


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--seed", type=int, default=1)
    chosen = arguments.parse_args()
    home = engine_home(Path(chosen.engine_python))
    rng = random.Random(chosen.seed)

    first = Launch(home, home.config())
    first.wait_ready()
    kinds = ["SIGTERM"] * 10 + ["SIGKILL"] * 5 + ["served"] * 4
    rng.shuffle(kinds)
    runs: list[dict[str, object]] = []
    left: Counter[str] = Counter()

    def finished(one: Launch, kind: str) -> None:
        code = one.process.wait(60)
        ended = one.own_state() or {}
        found = one.leftovers(KILLED_LIMIT_S if kind == "SIGKILL" else 0.0)
        left.update({what: len(names) for what, names in found.items()})
        phase = ended.get("phase", "before the engine")
        runs.append({"kind": kind, "phase": phase, "exit_code": code, "left": found})
        print(f"{len(runs):>2} {kind:<8} during {phase:<14} exit code {code:>4}  left {found}", flush=True)
        one.end()

    first.process.send_signal(signal.SIGTERM)
    finished(first, "served")
    for kind in kinds:
        one = Launch(home, home.config())
        if kind == "served":
            one.wait_ready()
            one.process.send_signal(signal.SIGTERM)
        else:
            phase = rng.choice(PHASES)
            if phase != "before the engine":
                one.wait_phase(phase)
            time.sleep(rng.uniform(0.0, 3.0))
            one.process.send_signal(getattr(signal, kind))
        finished(one, kind)

    finish(
        "leftovers",
        chosen.output,
        {"seed": chosen.seed, "launches": len(runs), "left": dict(left), "runs": runs},
        [("launches", str(len(runs))), *((f"{what} left", str(count)) for what, count in left.items())],
    )
    return 1 if sum(left.values()) else 0


if __name__ == "__main__":
    sys.exit(main())

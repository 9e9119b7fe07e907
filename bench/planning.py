"""`rigappliance plan` over a checkpoint of 72B parameters: time and memory beside `python -c pass`, and bytes read.

    python -m bench.planning [--runs 5]

The checkpoint has the real names, types, shapes and sizes of Qwen2.5-72B-Instruct-GPTQ-Int8 in 20 shards, whose data
are holes: what only the headers tell is there, and whoever read the data would show by the bytes read.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.common import finish, parser
from rigappliance.plan.catalogue import from_catalogue
from rigappliance.units import format_size
from tests.hollow import write_hollow

MODEL = "Qwen/Qwen2.5-72B-Instruct-GPTQ-Int8"
PLAN = ("plan", "--machine", "rig", "--json")
# What reading the shape alone takes of the files, as the kernel counts it.
READER = (
    "import sys; from pathlib import Path; from rigappliance.plan.tensors import read_shape\n"
    "def read(): return int(next(l for l in open('/proc/self/io') if l.startswith('rchar')).split()[1])\n"
    "path = Path(sys.argv[1]); before = read(); shape = read_shape(path); after = read()\n"
    "print(after - before, shape.tensor_bytes)\n"
)


# A child's largest RSS as wait4(2) tells it begins with its parent's: the process says itself what it had.
TELLS = (
    "import atexit, sys\n"
    "atexit.register(lambda: sys.stderr.write(next(l for l in open('/proc/self/status') if l.startswith('VmHWM'))))\n"
)
VERB = "import runpy; sys.argv[0] = 'rigappliance'; runpy.run_module('rigappliance', run_name='__main__')\n"


def timed(body: str, *arguments: str) -> tuple[float, int]:
    """Wall time in s and the largest RSS in bytes of one run."""
    begin_s = time.monotonic()
    command = [sys.executable, "-c", TELLS + body, *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return time.monotonic() - begin_s, int(done.stderr.split()[-2]) * 1024


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--runs", type=int, default=5)
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="rigbench-") as root:
        checkpoint = Path(root) / "checkpoint"
        shape = from_catalogue(MODEL)
        headers = write_hollow(shape, checkpoint)
        plans, passes = [], []
        for _ in range(chosen.runs):
            plans.append(timed(VERB, *PLAN, "--model", str(checkpoint)))
            passes.append(timed("pass"))
        done = subprocess.run(
            [sys.executable, "-c", READER, str(checkpoint)], check=True, capture_output=True, text=True
        )
    read, tensors = (int(word) for word in done.stdout.split())
    assert tensors == shape.tensor_bytes
    plan_s, pass_s = (statistics.median(run[0] for run in runs) for runs in (plans, passes))
    plan_rss, pass_rss = (statistics.median(run[1] for run in runs) for runs in (plans, passes))
    finish(
        "planning",
        chosen.output,
        {
            "model": MODEL,
            "plan_s": plan_s,
            "pass_s": pass_s,
            "time_ratio": plan_s / pass_s,
            "plan_rss_bytes": plan_rss,
            "pass_rss_bytes": pass_rss,
            "memory_ratio": plan_rss / pass_rss,
            "tensor_bytes": tensors,
            "header_bytes": headers,
            "read_bytes": read,
        },
        [
            ("plan", f"{plan_s:.2f} s, {format_size(round(plan_rss))}"),
            ("python -c pass", f"{pass_s:.3f} s, {format_size(round(pass_rss))}"),
            ("ratio", f"{plan_s / pass_s:.0f} × the time, {plan_rss / pass_rss:.1f} × the memory"),
            ("checkpoint", f"{format_size(tensors)}, of which {format_size(headers)} are headers and index"),
            ("read of it", f"{format_size(read)}, {read / tensors:.1e} of its bytes"),
        ],
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

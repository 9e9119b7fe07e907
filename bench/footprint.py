"""What the control plane costs: start of the CLI as a ratio to `python -c pass`, memory and CPU of the supervisor.

python -m bench.footprint [--runs 20] [--idle 60]
"""

from __future__ import annotations

import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench.common import engine_home, finish, parser, spread
from rigappliance.launch.proctree import descendants
from rigappliance.units import format_size
from tests.engine.launching import Launch


def seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return time.perf_counter() - started


def cpu_s(pid: int) -> float:
    """CPU time of all threads of ``pid``, to the nanosecond (clock_getcpuclockid(3))."""
    return time.clock_gettime((~pid << 3) | 2)


def status_bytes(pid: int, name: str) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split(f"{name}:")[1].split()[0]) * 1024


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--runs", type=int, default=20)
    arguments.add_argument("--idle", type=float, default=60.0, help="seconds over which CPU time is taken")
    chosen = arguments.parse_args()

    program = str(Path(sys.executable).with_name("rigappliance"))
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{sock.getsockname()[1]}"
    commands = {
        "--version": [program, "--version"],
        "--help": [program, "--help"],
        "wait, closed port": [program, "wait", "--url", closed, "--timeout", "1ms", "--quiet"],
    }
    base = [sys.executable, "-c", "pass"]
    ratios: dict[str, list[float]] = {name: [] for name in commands}
    base_s = []
    for _ in range(chosen.runs):
        base_s.append(seconds(base))
        for name, command in commands.items():
            ratios[name].append(seconds(command) / base_s[-1])

    home = engine_home(Path(chosen.engine_python))
    # The product's own default interval, not the short one of the tests.
    one = Launch(home, home.config(probe_interval="60s", probe_timeout="60s"))
    one.wait_ready()
    pid = one.process.pid
    guard = next(stat.pid for stat in descendants(pid) if stat.ppid == pid)
    time.sleep(2)
    before, guard_before, started = cpu_s(pid), cpu_s(guard), time.monotonic()
    time.sleep(chosen.idle)
    elapsed_s = time.monotonic() - started
    share, guard_share = (cpu_s(pid) - before) / elapsed_s, (cpu_s(guard) - guard_before) / elapsed_s
    rss, peak, guard_rss = status_bytes(pid, "VmRSS"), status_bytes(pid, "VmHWM"), status_bytes(guard, "VmRSS")
    assert one.stop() == 0
    one.end()

    finish(
        "footprint",
        chosen.output,
        {
            "python_pass_s": base_s,
            "start_ratios": {name: statistics.median(values) for name, values in ratios.items()},
            "supervisor_rss_bytes": rss,
            "supervisor_peak_rss_bytes": peak,
            "guard_rss_bytes": guard_rss,
            "supervisor_idle_cpu_share": share,
            "guard_idle_cpu_share": guard_share,
            "idle_s": elapsed_s,
        },
        [
            ("python3 -c pass, seconds", spread(base_s)),
            *((f"{name}, ratio to it", spread(values)) for name, values in ratios.items()),
            ("supervisor, resident", f"{format_size(rss)} (peak {format_size(peak)})"),
            ("guard, resident", format_size(guard_rss)),
            ("supervisor, share of a core when idle", f"{share:.5%}"),
            ("guard, share of a core when idle", f"{guard_share:.5%}"),
        ],
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""A program that behaves as badly as an engine can: ``family.py SECONDS SHARED_MEMORY_NAME ENDING``.

Every process of it has SECONDS, a number that nobody else uses, on its command
line.  It leaves a child, a daemon (double fork, own session, empty environment)
and a child that ignores SIGTERM, and a shared memory segment.  ENDING is
``stay``, ``exit-N`` or ``signal-N``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path


def daemon(seconds: str) -> None:
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execve("/bin/sleep", ["sleep", seconds], {})
        os._exit(0)
    os.wait()


def main() -> None:
    seconds, name, ending = sys.argv[1:]
    Path("/dev/shm", name).write_bytes(b"x" * 4096)
    subprocess.Popen(["sleep", seconds])
    subprocess.Popen(["bash", "-c", f"trap '' TERM HUP INT; sleep {seconds}; exit 0"])
    daemon(seconds)
    print("up", flush=True)
    if ending == "stay":
        time.sleep(600)
    kind, number = ending.split("-")
    if kind == "exit":
        os._exit(int(number))
    os.kill(os.getpid(), int(number))


if __name__ == "__main__":
    main()

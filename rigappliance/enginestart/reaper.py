"""What becomes of the template when the engine is ready: a process that only tells how its children end.

Run as a fresh program in the same process, so the children stay its own, and the pages that nobody else uses any more
are given back.  Called as ``reaper.py PID:STATUS_FD...``; imports almost nothing, since it stays as long as the engine.
"""

import os
import sys


def main() -> None:
    # struct and socket would be half of this process.
    statuses = {int(pid): int(fd) for pid, _, fd in (pair.partition(":") for pair in sys.argv[1:])}
    while True:
        try:
            pid, status = os.waitpid(-1, 0)
        except ChildProcessError:
            return
        fd = statuses.pop(pid, -1)
        if fd >= 0:
            try:  # noqa: SIM105 contextlib is what this does without
                os.write(fd, os.waitstatus_to_exitcode(status).to_bytes(8, sys.byteorder, signed=True))
            except OSError:
                # Who asked is gone, and with it the one who wanted to know.
                pass
            os.close(fd)


if __name__ == "__main__":
    main()

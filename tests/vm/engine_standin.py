#!/usr/bin/python3
"""A stand-in for the engine in a guest: says what the real one said first, then loads for ever.

It lies where the engine's interpreter would be, with the recorded log beside it,
and ignores its arguments. A worker makes a tree of it that has to be ended.
"""

import os
import pathlib
import signal
import sys
import time

# The recorded start ends here: from now on it is as far as "weights".
LAST = "Loading safetensors checkpoint shards:   0%"

if os.fork() == 0:
    # Like the real one's workers, it has to be told by more than SIGTERM.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(1)
for line in pathlib.Path(__file__).with_name("first-start.log").read_text(errors="replace").splitlines(keepends=True):
    sys.stdout.write(line)
    sys.stdout.flush()
    time.sleep(0.05)
    if LAST in line:
        break
while True:
    # Progress, so that the start does not count as hung.
    sum(range(100_000))
    time.sleep(0.5)

"""A directory served read-only through the model of one hard disk, so that a machine without one can measure on one.

    python -m bench.hdd SOURCE MOUNTPOINT [--read-ahead-kib 128] [--fifo]

What is real: the page cache, read-ahead, mmap, the requests that the kernel makes of them, and the time that they take.
What is modelled: where the head is and how long it needs (``model``), and the order in which a rotational disk's
default scheduler hands over what waits (``elevator``). What is left out: the drive's own cache, but for one track that
it reads on while nobody waits; its rotational reordering; zones; a file's fragments. Files lie one after another in
the order of their paths.

It needs root and /dev/fuse, and nothing to install: the few requests of a read-only file system are spoken here
(``wire``), because the model has to hold many requests at once and answer them in the head's order from one thread,
which a binding that calls back once a request cannot do without a thread for each.
"""

from bench.hdd.faults import BadRange, SlowRange, Truncation
from bench.hdd.model import DiskModel
from bench.hdd.mount import Counts, HardDisk, mounted, unavailable

__all__ = ["BadRange", "Counts", "DiskModel", "HardDisk", "SlowRange", "Truncation", "mounted", "unavailable"]

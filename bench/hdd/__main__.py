"""The process behind a mount; by hand: until Ctrl-C, then what was counted."""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import sys
import threading
from contextlib import suppress
from pathlib import Path

from bench.hdd.model import DiskModel
from bench.hdd.mount import DEFAULT_READ_AHEAD_KIB, mount, unavailable, unmount
from bench.hdd.orders import counts, say, serve
from bench.hdd.platter import lay_out
from bench.hdd.server import Server

PR_SET_TIMERSLACK = 29
NICENESS = -10


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.hdd", description="A directory behind a hard disk's model.")
    parser.add_argument("source", type=Path)
    parser.add_argument("mountpoint", type=Path)
    parser.add_argument("--model", type=json.loads, default={}, help="JSON of DiskModel's fields")
    parser.add_argument("--fifo", action="store_true", help="serve in the order of arrival, without the elevator")
    parser.add_argument("--read-ahead-kib", type=int, default=DEFAULT_READ_AHEAD_KIB)
    parser.add_argument("--orders", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    reason = unavailable()
    if reason:
        print(reason, file=sys.stderr)
        return 2
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    server = Server(device, lay_out(chosen.source.resolve()), DiskModel(**chosen.model), chosen.fifo)
    # The kernel rounds a sleep up by 50 µs unless told otherwise.
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)
    # A disk does not compete for the processor with those that it serves.
    os.setpriority(os.PRIO_PROCESS, 0, NICENESS)
    mount(device, chosen.mountpoint)
    # The first answers are due before anybody may look at the mount.
    orders = 0 if chosen.orders else os.pipe()[0]
    threading.Thread(target=announce, args=(chosen,), daemon=True).start()
    try:
        serve(server, orders)
    except KeyboardInterrupt:
        print(json.dumps(counts(server), indent=1))
    finally:
        # Not by this thread: unmounting waits for reads in flight, which the end of the device's only user cuts off.
        leaving = threading.Thread(target=leave, args=(chosen.mountpoint,), daemon=True)
        leaving.start()
        leaving.join(0.5)
    return 0


def announce(chosen: argparse.Namespace) -> None:
    chosen.mountpoint.stat()
    if chosen.orders:
        say({"mounted": True})
    else:
        device = chosen.mountpoint.stat().st_dev
        bdi = Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb")
        bdi.write_text(str(chosen.read_ahead_kib))


def leave(mountpoint: Path) -> None:
    with suppress(OSError):
        unmount(mountpoint)


if __name__ == "__main__":
    sys.exit(main())

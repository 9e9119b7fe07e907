"""Is the disk as fast as a healthy one, and has the kernel complained about it?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rigappliance.facts.model import ModelFacts
from rigappliance.preflight.finding import Finding, counted, ok, warn
from rigappliance.units import SIZE_UNITS, format_duration, format_size

if TYPE_CHECKING:
    from rigappliance.facts.diskspeed import DiskSpeed

# Hard disks of the last fifteen years read 80 to 280 MB/s in order (the rig's: 3 to 4 times its 46 MB/s while loading).
SIZE_LEAST_BYTES = 16 * SIZE_UNITS["MiB"]
SPEED_LEAST_BYTES_S = 60 * SIZE_UNITS["MB"]


def check_speed(speed: DiskSpeed, model: ModelFacts) -> Finding:
    """One sequential read of a shard."""
    if speed.problem:
        return warn("disk.speed", f"{speed.file}: {speed.problem}", "a shard that can be read", "see checkpoint.files")
    if speed.read_bytes < SIZE_LEAST_BYTES:
        return ok("disk.speed", f"{format_size(speed.read_bytes)} are too few to time a disk by")
    whole_s = model.file_bytes / speed.bytes_s if speed.bytes_s else 0.0
    found = (
        f"{format_size(int(speed.bytes_s))}/s over {format_size(speed.read_bytes)}: "
        f"{format_duration(whole_s)} for the whole checkpoint, read once and in order"
    )
    if speed.bytes_s >= SPEED_LEAST_BYTES_S:
        return ok("disk.speed", found)
    return warn(
        "disk.speed",
        found,
        f"{format_size(SPEED_LEAST_BYTES_S)}/s or more, as of any hard disk in good health that nobody else uses",
        "see `smartctl -a` and `iostat -x 5`; put the checkpoint on another disk or port (no USB 2)",
    )


def check_errors(faults: tuple[str, ...] | None) -> Finding:
    """What the kernel has said about disks since it started."""
    if faults is None:
        return ok("disk.errors", "only root can read what the kernel says about disks")
    if not faults:
        return ok("disk.errors", "the kernel has named no error of a disk")
    return warn(
        "disk.errors",
        f"{counted(len(faults), 'error')} of a disk since the machine started, the last: {faults[-1].strip()}",
        "none",
        "save what is dear to you, see `smartctl -a` and the cable, and fetch the checkpoint anew on a disk that works",
    )

"""Bringing the files that are not there."""

from __future__ import annotations

import time

from rigappliance.errors import PreflightError, RequestFailedError
from rigappliance.facts.host import DiskFacts, read_disk_facts
from rigappliance.fetch.failures import NETWORK_REMEDY
from rigappliance.fetch.job import Job
from rigappliance.fetch.listing import HubFile
from rigappliance.fetch.partial import partial_bytes, remove_leftovers
from rigappliance.fetch.progress import Progress
from rigappliance.fetch.record import Record, status_of
from rigappliance.units import format_duration, format_size

# hf gives a silent connection six minutes; beyond this it waits for something that will not come.
STALL_S = 1200.0
# A hard disk gets one stream, which it lays down in one piece, and an interruption costs the one shard that was
# begun. Elsewhere a few streams fill a line that one does not.
WORKERS_ROTATING = 1
WORKERS = 4


def complete(job: Job, record: Record) -> int:
    """Download every file that is not there at its full size, and return the bytes that came.

    Raises ``PreflightError`` where the disk is too small, ``RequestFailedError``
    where the download stops, and what ``Job.hf`` raises.
    """
    missing = [entry.file for entry in record.entries if not job.has(entry.file)]
    if not missing:
        return 0
    for file in missing:
        if status := status_of(job.directory, file):
            job.say(f"{file.path} has {status.st_size} bytes of {file.size_bytes}; it is downloaded again")
            # While it is there, hf may take it for the whole one.
            (job.directory / file.path).unlink()
    need_bytes = sum(file.size_bytes for file in missing)
    disk = read_disk_facts(job.directory)
    check_space(disk, need_bytes)
    job.say(f"downloading {len(missing)} files, {format_size(need_bytes)}")
    whole_bytes = record.total_bytes - need_bytes
    progress = Progress("download", record.total_bytes, whole_bytes, job.say, job.notifier)
    movement = Movement(whole_bytes)

    def on_tick() -> None:
        arrived_bytes = sum(file.size_bytes for file in missing if job.has(file))
        here_bytes = whole_bytes + arrived_bytes + partial_bytes(job.directory)
        progress.update(here_bytes)
        movement.check(here_bytes)

    try:
        job.hf(arguments(job, record.commit, missing, disk), on_tick)
    finally:
        remove_leftovers(job.directory)
    if absent := [file.path for file in missing if not job.has(file)]:
        raise RequestFailedError(
            f"hf called the download done, and {absent[0]} is not there ({len(absent)} files in all)",
            "every file of the repository",
            NETWORK_REMEDY,
        )
    return need_bytes


def arguments(job: Job, commit: str, files: list[HubFile], disk: DiskFacts) -> list[str]:
    workers = WORKERS_ROTATING if disk.rotational else WORKERS
    options = ["--revision", commit, "--local-dir", str(job.directory), "--max-workers", str(workers)]
    # By name: otherwise hf would read the other files too, to see whether they are right.
    return ["download", *options, "--format", "agent", "--", job.repository, *(file.path for file in files)]


def check_space(disk: DiskFacts, need_bytes: int) -> None:
    """Raises ``PreflightError`` where ``disk`` has less free."""
    if disk.free_bytes is not None and disk.free_bytes < need_bytes:
        raise PreflightError(
            f"the disk of model.path {disk.directory} has {format_size(disk.free_bytes)} free",
            f"{format_size(need_bytes)} for what is still to be downloaded",
            f"free {format_size(need_bytes - disk.free_bytes)}, or set model.path to a directory on another disk",
        )


class Movement:
    """Notices when a number has stood still for too long."""

    def __init__(self, value: int) -> None:
        self.value = value
        self.since_s = time.monotonic()

    def check(self, value: int) -> None:
        """Raises ``RequestFailedError``."""
        now_s = time.monotonic()
        if value != self.value:
            self.value, self.since_s = value, now_s
        elif now_s - self.since_s > STALL_S:
            took = format_duration(STALL_S)
            raise RequestFailedError(f"no byte came for {took}", "a download that moves", NETWORK_REMEDY)

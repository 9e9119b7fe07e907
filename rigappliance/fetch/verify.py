"""Comparing what lies on the disk with the hub's checksums."""

from __future__ import annotations

from dataclasses import dataclass

from rigappliance.errors import PreflightError
from rigappliance.fetch.digest import digest_of
from rigappliance.fetch.job import Job
from rigappliance.fetch.listing import HubFile
from rigappliance.fetch.progress import Progress
from rigappliance.fetch.record import Entry, Record, still_verified, write_record
from rigappliance.units import format_size


@dataclass(frozen=True)
class Verified:
    """``damaged`` are the files whose content is not the hub's; ``hashed_bytes`` is what was read for it."""

    record: Record
    damaged: tuple[HubFile, ...]
    hashed_bytes: int


def verify(job: Job, record: Record) -> Verified:
    """Hash every file that is not known to be right, and keep what is found at once.

    Raises ``PreflightError`` for a file that cannot be read,
    ``InterruptedStartError``, and ``OSError`` where the record cannot be written.
    """
    unknown = [entry.file for entry in record.entries if not still_verified(job.directory, entry)]
    total_bytes = sum(file.size_bytes for file in unknown)
    if unknown:
        job.say(f"verifying {len(unknown)} files, {format_size(total_bytes)}")
    progress = Progress("verification", total_bytes, 0, job.say, job.notifier)
    done_bytes = 0

    def on_block(count_bytes: int) -> None:
        nonlocal done_bytes
        done_bytes += count_bytes
        progress.update(done_bytes)
        job.stop.check()

    damaged = []
    for file in unknown:
        job.stop.check()
        path = job.directory / file.path
        try:
            digest, status = digest_of(path, file.algorithm, on_block)
        except OSError as error:
            raise PreflightError(
                f"cannot read {path}: {error.strerror or error}",
                "a file that this user can read, on a disk that works",
                "look at its owner and mode, and for disk errors in dmesg",
            ) from error
        if digest == file.digest:
            record = record.with_entry(Entry(file, status.st_mtime_ns, status.st_ino))
            write_record(job.directory, record)
        else:
            damaged.append(file)
    return Verified(record, tuple(damaged), done_bytes)

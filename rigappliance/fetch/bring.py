"""Bring the declared checkpoint and verify it; do nothing where that is done.

Look up what the declared revision is, download what is missing, hash what was
not hashed yet, and once more for what was damaged.  Each step finds what an
interrupted call has done.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from rigappliance.errors import PreflightError
from rigappliance.facts.model import read_model_facts
from rigappliance.fetch.download import complete
from rigappliance.fetch.job import Job
from rigappliance.fetch.listing import HubFile
from rigappliance.fetch.lock import locked, not_writable
from rigappliance.fetch.lookup import look_up
from rigappliance.fetch.partial import remove_leftovers
from rigappliance.fetch.record import Record, is_whole, read_record, write_record
from rigappliance.fetch.verify import verify
from rigappliance.preflight.checkpoint import check_files
from rigappliance.units import format_duration, format_size


@dataclass(frozen=True)
class Fetched:
    """A whole checkpoint, and what the call did for it: nothing where ``hashed_bytes`` is 0."""

    repository: str
    revision: str
    commit: str
    path: Path
    files: int
    total_bytes: int
    downloaded_bytes: int
    hashed_bytes: int
    seconds: float
    verified: str

    def as_json(self) -> str:
        return json.dumps(asdict(self), default=str)

    def __str__(self) -> str:
        what = f"{self.path}: {self.files} files, {format_size(self.total_bytes)}, {self.repository}@{self.commit[:12]}"
        if not self.hashed_bytes:
            return f"{what}, verified {self.verified}"
        downloaded = format_size(self.downloaded_bytes)
        return f"{what}, verified; {downloaded} downloaded, in {format_duration(self.seconds)}"


def fetch(job: Job, *, again: bool = False) -> Fetched:
    """Return once the checkpoint is whole and verified; ``again`` forgets that it was.

    Raises ``BusyError`` (another fetch), ``ConfigError`` (unknown repository or
    revision, directory of another checkpoint), ``EngineMissingError`` (no `hf`),
    ``PreflightError`` (disk full or read-only, no access, lasting damage),
    ``RequestFailedError`` (network) and ``InterruptedStartError``.
    """
    started_s = time.monotonic()
    record = read_record(job.directory)
    downloaded_bytes = hashed_bytes = 0
    if again or record is None or not is_done(job, record):
        with locked(job.directory):
            try:
                record, downloaded_bytes, hashed_bytes = bring(job, again=again)
            except OSError as error:
                raise not_writable(job.directory, error) from error
    job.notifier.status(f"{job.repository}@{record.commit[:12]} is here and verified")
    return Fetched(
        repository=record.repository,
        revision=job.revision,
        commit=record.commit,
        path=job.directory,
        files=len(record.entries),
        total_bytes=record.total_bytes,
        downloaded_bytes=downloaded_bytes,
        hashed_bytes=hashed_bytes,
        seconds=round(time.monotonic() - started_s, 3),
        verified=record.verified or "",
    )


def is_done(job: Job, record: Record) -> bool:
    return record.answers(job.repository, job.revision) and is_whole(job.directory, record)


def bring(job: Job, *, again: bool) -> tuple[Record, int, int]:
    """For the lock's holder: the record of a whole checkpoint, bytes downloaded and bytes hashed."""
    record = read_record(job.directory)
    if record is None or again or not record.answers(job.repository, job.revision):
        record = look_up(job, record, keep=not again)
        write_record(job.directory, record)
    remove_leftovers(job.directory)
    downloaded_bytes = complete(job, record)
    verified = verify(job, record)
    hashed_bytes = verified.hashed_bytes
    if verified.damaged:
        for file in verified.damaged:
            job.say(f"{file.path} is damaged: its checksum is not the hub's; it is removed and downloaded again")
            (job.directory / file.path).unlink()
        downloaded_bytes += complete(job, verified.record)
        verified = verify(job, verified.record)
        hashed_bytes += verified.hashed_bytes
    if verified.damaged:
        raise damaged_twice(job, verified.damaged)
    check_headers(job)
    record = replace(verified.record, verified=datetime.now(UTC).isoformat(timespec="seconds"))
    write_record(job.directory, record)
    return record, downloaded_bytes, hashed_bytes


def damaged_twice(job: Job, damaged: tuple[HubFile, ...]) -> PreflightError:
    """The network has checksums of its own, so the fault is likely here. What is wrong is not left for the engine."""
    for file in damaged:
        (job.directory / file.path).unlink()
    return PreflightError(
        f"{', '.join(file.path for file in damaged)}: damaged again after a new download, and removed",
        "content with the hub's checksum",
        "test this host's RAM (memtest86+) and its disk (smartctl -a), then call again",
    )


def check_headers(job: Job) -> None:
    """Raises ``PreflightError`` where the repository, as it is, is no checkpoint that the engine could load."""
    for finding in check_files(read_model_facts(job.directory)):
        if finding.severity == "fail":
            raise PreflightError(
                f"all files of {job.repository} are here and right, yet {finding.found}",
                finding.expected,
                "declare another model.repository or model.revision",
            )
        if finding.severity == "warn":
            job.say(f"note: {finding.found}")

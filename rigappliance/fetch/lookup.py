"""What the declared revision is: its commit and its files, asked from the hub."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path

from rigappliance.errors import ConfigError, RequestFailedError
from rigappliance.facts.model import read_model_facts
from rigappliance.fetch.digest import digest_of
from rigappliance.fetch.failures import NETWORK_REMEDY
from rigappliance.fetch.job import Job
from rigappliance.fetch.listing import HubFile, parse_commit, parse_listing
from rigappliance.fetch.record import NAME, Entry, Record, status_of
from rigappliance.preflight.checkpoint import check_files
from rigappliance.units import format_duration, format_size

# hf itself sets no limit to a look-up.
LIMIT_S = 300.0


def look_up(job: Job, known: Record | None, *, keep: bool) -> Record:
    """The record of the declared revision; ``keep`` takes over what ``known`` says of files that are the same.

    Raises ``ConfigError`` for a revision that is not there and for a directory
    that holds another checkpoint, and what ``Job.hf`` raises.
    """
    try:
        commit = parse_commit(ask(job, "info", job.repository, "--revision", job.revision, "--expand", "sha"))
        files = parse_listing(ask(job, "ls", job.repository, "-R", "--revision", commit))
    except RequestFailedError as error:
        raise (error if known else unreachable(job.directory, error)) from error
    if not files:
        raise ConfigError(
            f"{job.repository} has no files at {job.revision}",
            "a repository with a checkpoint",
            "correct model.repository or model.revision",
        )
    check_owner(job, known, files)
    before = {entry.file: entry for entry in known.entries} if known and keep else {}
    record = Record(job.repository, job.revision, commit, tuple(before.get(file, Entry(file)) for file in files))
    job.say(f"{job.repository}@{commit[:12]}: {len(files)} files, {format_size(record.total_bytes)}")
    return record


def ask(job: Job, verb: str, *arguments: str) -> str:
    """What `hf models` prints."""
    deadline_s = time.monotonic() + LIMIT_S

    def on_tick() -> None:
        if time.monotonic() > deadline_s:
            took = format_duration(LIMIT_S)
            raise RequestFailedError(f"the model hub did not answer within {took}", "an answer", NETWORK_REMEDY)

    job.notifier.status(f"asking the model hub for {job.repository}")
    return job.hf(["models", verb, *arguments, "--format", "json"], on_tick)


def unreachable(directory: Path, error: RequestFailedError) -> RequestFailedError:
    """``error``, and what it means for a checkpoint that was brought by other means."""
    if any(finding.severity == "fail" for finding in check_files(read_model_facts(directory))):
        return error
    return RequestFailedError(
        f"{error.found}; {directory} looks whole by its headers, and nothing tells whether its content is right",
        "the hub's checksums, once; later calls need no network",
        f"let this host reach the hub, or copy {NAME} too from the rig that the files come from",
    )


def check_owner(job: Job, known: Record | None, files: Iterable[HubFile]) -> None:
    """Raises ``ConfigError`` where the directory holds another checkpoint, which must not be overwritten."""
    if known and known.repository == job.repository:
        return
    found = f"{job.directory} holds another checkpoint than {job.repository}"
    theirs = False
    if known and any(status_of(job.directory, entry.file) for entry in known.entries):
        found = f"{job.directory} holds {known.repository}, and model.repository is {job.repository}"
        theirs = True
    expected = next((file for file in files if file.path == "config.json"), None)
    path = job.directory / "config.json"
    if expected and not theirs and is_json_object(path):
        theirs = digest_of(path, expected.algorithm, lambda _: None)[0] != expected.digest
    if theirs:
        raise ConfigError(
            found,
            "an empty directory, or what a fetch of the same repository left",
            "give each checkpoint a model.path of its own, correct model.repository, or remove what lies there",
        )


def is_json_object(path: Path) -> bool:
    """Whether there is a file that somebody could miss: nobody misses an empty or a torn one."""
    try:
        return isinstance(json.loads(path.read_bytes()), dict)
    except (OSError, ValueError, RecursionError):
        return False

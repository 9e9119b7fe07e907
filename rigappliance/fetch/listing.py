"""What a repository holds at one commit, from the JSON that `hf models` prints."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

from rigappliance.errors import RequestFailedError

Algorithm = Literal["sha256", "git-sha1"]
DIGEST_LENGTHS: dict[str, int] = {"sha256": 64, "git-sha1": 40}
# Here `hf` keeps its own notes, and we ours.
RESERVED = re.compile(r"(\.cache/huggingface|\.rigappliance-[^/]*)(/|$)")


@dataclass(frozen=True)
class HubFile:
    """One file of a repository. ``git-sha1`` is the id of git's blob; large files have a SHA-256 instead."""

    path: str
    size_bytes: int
    algorithm: Algorithm
    digest: str


def parse_commit(text: str) -> str:
    """The commit in the output of `hf models info --expand sha`. Raises ``RequestFailedError``."""
    tree = parse(text)
    commit = tree.get("sha") if isinstance(tree, dict) else None
    if isinstance(commit, str) and re.fullmatch(r"[0-9a-f]{40}", commit):
        return commit
    raise not_understood(f"no commit in {text[:80]!r}")


def parse_listing(text: str) -> tuple[HubFile, ...]:
    """The files in the output of `hf models ls -R`, none for an empty repository. Raises ``RequestFailedError``."""
    tree = parse(text) if text.strip() else []
    if not isinstance(tree, list):
        raise not_understood("no list of files")
    # A directory has no size.
    return tuple(parse_file(entry) for entry in tree if not (isinstance(entry, dict) and "tree_id" in entry))


def parse_file(entry: Any) -> HubFile:
    """Raises ``RequestFailedError``, also for a path that would lead out of the checkpoint's directory."""
    match entry:
        case {"path": str(path), "size": int(size), "lfs": {"sha256": str(digest)}}:
            return checked(HubFile(path, size, "sha256", digest))
        case {"path": str(path), "size": int(size), "blob_id": str(digest)}:
            return checked(HubFile(path, size, "git-sha1", digest))
    raise not_understood(f"a file without path, size or checksum: {str(entry)[:80]}")


def checked(file: HubFile) -> HubFile:
    pure = PurePosixPath(file.path)
    odd = not pure.parts or str(pure) != file.path or not file.path.isprintable()
    if odd or pure.is_absolute() or ".." in pure.parts:
        raise not_understood(f"a file named {file.path!r}")
    if RESERVED.match(file.path):
        raise not_understood(f"a file named {file.path!r}, where notes about the download are kept")
    if file.size_bytes < 0 or not re.fullmatch(rf"[0-9a-f]{{{DIGEST_LENGTHS[file.algorithm]}}}", file.digest):
        raise not_understood(f"an impossible size or checksum of {file.path}")
    return file


def parse(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise not_understood(f"no JSON: {error}") from error


def not_understood(what: str) -> RequestFailedError:
    return RequestFailedError(
        f"the model hub's answer makes no sense: {what}",
        "commit and files of the repository",
        "look at HF_ENDPOINT and at any proxy; call again later if neither is set",
    )

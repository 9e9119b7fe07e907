"""What an installation made, as it is kept on the machine: enough to take all of it back."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from rigappliance.errors import PreflightError
from rigappliance.install.host import Host

# Not below the state directory, which the service's user owns.
DIRECTORY = Path("/var/lib/rigappliance-install")
MANIFEST = DIRECTORY / "manifest.json"


class Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Parameter(Record):
    """A parameter of the kernel: its value before the first installation, and those that it can have from it."""

    before: str
    ours: tuple[str, ...]


class SwapFile(Record):
    """``made``: it was not there before the installation."""

    path: Path
    made: bool


class Checkpoint(Record):
    """``made``: its directory, outside of the state directory, was made by the installation."""

    path: Path
    made: bool


class Manifest(Record):
    """``complete`` is false from before the first change until after the last.

    While an update is under way it tells of before and after.  ``files`` holds the
    digests of all contents that are the installation's; ``directories`` are those
    that it made, outermost first.
    """

    format: Literal[1] = 1
    complete: bool = False
    version: str
    program: Path
    config_file: Path
    config_digest: str
    profile: str | None
    fetch: bool
    units: tuple[str, ...] = ()
    files: dict[Path, tuple[str, ...]] = {}
    directories: tuple[Path, ...] = ()
    parameters: dict[str, Parameter] = {}
    made_user: bool = False
    made_group: bool = False
    state_dirs: tuple[Path, ...] = ()
    checkpoints: tuple[Checkpoint, ...] = ()
    swaps: tuple[SwapFile, ...] = ()


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def read_manifest(host: Host) -> Manifest | None:
    """The installation that is here, or ``None``. Raises ``PreflightError`` where its record makes no sense."""
    try:
        text = host.at(MANIFEST).read_text(encoding="utf-8")
        return Manifest.model_validate_json(text)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else first_mistake(error)
        raise PreflightError(
            f"the record of the installation, {MANIFEST}, cannot be understood: {reason}",
            "the file as an installation wrote it, with this version or an older one",
            "bring it back from a backup; or remove it, and with it the knowledge of what was installed",
        ) from error


def first_mistake(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return "it is not UTF-8 text"
    mistake = error.errors()[0]
    where = ".".join(str(part) for part in mistake["loc"])
    return f"{where}: {mistake['msg']}" if where else str(mistake["msg"])


def to_text(manifest: Manifest) -> str:
    return manifest.model_dump_json(indent=2) + "\n"

"""Where caches lie below the state directory.

cache/               what the engine reads and writes; its place is in the engine's environment and never changes
cache/manifest.json  who uses what of it, and each file's digest
cache/aside/         what was found damaged last, to be looked at
cache/taken/         of an import that is under way
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from rigappliance.caches.manifest import NAME
from rigappliance.caches.tree import PARTS, files_of
from rigappliance.errors import PreflightError


class Store:
    """Paths, and the moves between them. Each move is one rename, which a crash leaves done or undone."""

    def __init__(self, state_dir: Path) -> None:
        self.active = state_dir / "cache"
        self.aside = self.active / "aside"
        self.taken = self.active / "taken"

    def make(self) -> None:
        """The directory itself; a link to one elsewhere is the operator's. Raises ``PreflightError``."""
        why = ""
        try:
            self.active.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            why = "is no directory"
        except OSError as error:
            why = f"cannot be made: {error.strerror}"
        if not why and not os.access(self.active, os.R_OK | os.W_OK | os.X_OK):
            why = "cannot be written"
        if why:
            raise PreflightError(
                f"{self.active} {why}", "a directory for what the engine compiles", "remove it, or put it right"
            )

    def parts(self) -> list[Path]:
        """Of the active cache, those that hold anything."""
        found = []
        for name in PARTS:
            path = self.active / name
            with suppress(OSError):
                if path.is_symlink() or not path.is_dir() or any(path.iterdir()):
                    found.append(path)
        return [path for path in found if path.is_symlink() or path.exists()]

    def standing(self) -> str:
        """How many files each part has: a text that changes when somebody empties one to mend a failure."""
        counts = dict.fromkeys(PARTS, 0)
        for name, _ in files_of(self.active):
            counts[name.partition("/")[0]] += 1
        return " ".join(f"{name} {count}" for name, count in counts.items() if count) or "empty"

    def set_aside(self, paths: Iterable[Path], why: str) -> str:
        """Move damaged content where no engine looks, in place of what lay there; returns a line that says so.

        Raises ``PreflightError`` where it cannot be moved: it must not be used.
        """
        paths = list(paths)
        names = ", ".join(str(path.relative_to(self.active)) for path in paths)
        remove(self.aside)
        for path in paths:
            move(path, self.aside / path.relative_to(self.active), why)
        return f"cache {names}: {why}; moved to {self.aside}, and made anew by this start"

    def clear(self) -> None:
        """All of it, and nothing beside it."""
        (self.active / NAME).unlink(missing_ok=True)
        for name in PARTS:
            remove(self.active / name)
        remove(self.taken)
        remove(self.aside)


def move(source: Path, target: Path, why: str) -> None:
    """Raises ``PreflightError``."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)
    except OSError as error:
        raise PreflightError(
            f"{source} {why}, and cannot be moved to {target.parent}: {error.strerror}",
            "a state directory whose content this user may move",
            "mend its owner and mode, or remove it by hand",
        ) from error


def remove(path: Path) -> None:
    """A directory, a file or a link, if it is there. Raises ``PreflightError`` where it stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)
    if path.is_symlink() or path.exists():
        raise PreflightError(
            f"{path} cannot be removed", "a state directory whose content this user may remove", "remove it by hand"
        )

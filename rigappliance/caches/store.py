"""Where caches lie below the state directory.

cache/               what the engine reads and writes; its place is in the engine's environment and never changes
cache/manifest.json  for what it was made, and each file's digest
cache/open           a start uses it, and has not sealed it since
cache.kept/KEY/      caches of other layouts, engines or models, each with its manifest
cache.aside/         what was found damaged last, to be looked at
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from rigappliance.caches.manifest import NAME, Manifest, NoManifestError, read_manifest
from rigappliance.caches.tree import PARTS, files_of
from rigappliance.errors import PreflightError

# Three layouts of a 72B model beside the one in use, and some room; the disk holds its checkpoint of 77 GB anyway.
KEPT_LIMIT_BYTES = 4 << 30


class Store:
    """Paths, and the moves between them. Each move is one rename, which a crash leaves done or undone."""

    def __init__(self, state_dir: Path) -> None:
        self.active = state_dir / "cache"
        self.kept = self.active / "kept"
        self.aside = self.active / "aside"

    @property
    def marker(self) -> Path:
        return self.active / "open"

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

    def kept_keys(self) -> list[str]:
        with suppress(OSError):
            return sorted(path.name for path in self.kept.iterdir() if not path.name.startswith("."))
        return []

    def set_aside(self, paths: Iterable[Path], why: str) -> str:
        """Move damaged content where no engine looks, in place of what lay there; returns a line that says so.

        Raises ``PreflightError`` where it cannot be moved: it must not be used.
        """
        paths = list(paths)
        names = ", ".join(path.name for path in paths)
        remove(self.aside)
        for path in paths:
            move(path, self.aside / path.name, why)
        return f"cache {names}: {why}; moved to {self.aside}, and made anew by this start"

    def put_away(self, manifest: Manifest) -> None:
        """The active cache under its key, in place of an older one. Raises ``PreflightError``."""
        target = self.kept / manifest.key
        remove(target)
        # The manifest last: without it, what has moved counts for nothing.
        for path in self.parts():
            move(path, target / path.name, "is for another start")
        move(self.active / NAME, target / NAME, "is for another start")

    def bring_in(self, key: str) -> Manifest | None:
        """The kept cache of ``key`` in the place of an empty active one; ``None`` where none is kept, or none whole."""
        source = self.kept / key
        try:
            manifest = read_manifest(source)
        except NoManifestError:
            manifest = None
        if manifest is None or manifest.key != key:
            remove(source)
            return None
        for name in PARTS:
            if (source / name).exists():
                remove(self.active / name)
                move(source / name, self.active / name, "is kept for this start")
        move(source / NAME, self.active / NAME, "is kept for this start")
        remove(source)
        return manifest

    def prune(self, limit_bytes: int = KEPT_LIMIT_BYTES) -> list[str]:
        """Remove the oldest kept caches until the rest is within the limit; returns a line for each."""
        aged = []
        for key in self.kept_keys():
            try:
                manifest = read_manifest(self.kept / key)
            except NoManifestError:
                manifest = None
            if manifest is None:
                remove(self.kept / key)
            else:
                aged.append((manifest.made, key, manifest.size_bytes))
        lines, total = [], sum(size for _, _, size in aged)
        for made, key, size in sorted(aged):
            if total <= limit_bytes:
                break
            remove(self.kept / key)
            total -= size
            lines.append(f"cache {key} of {time.strftime('%Y-%m-%d', time.localtime(made))} removed: too much is kept")
        return lines

    def clear(self) -> None:
        """All of it, and nothing beside it."""
        (self.active / NAME).unlink(missing_ok=True)
        self.marker.unlink(missing_ok=True)
        for name in PARTS:
            remove(self.active / name)
        remove(self.kept)
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

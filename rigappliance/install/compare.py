"""The files of an installation against those that are there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rigappliance.errors import PreflightError
from rigappliance.install.files import content
from rigappliance.install.host import Host
from rigappliance.install.manifest import Manifest, digest
from rigappliance.install.steps import RemoveFile, WriteFile
from rigappliance.render.plainhost import UNIT_DIRECTORY, HostFile


@dataclass(frozen=True)
class Comparison:
    """``files``: what the installation consists of afterwards, as digests by path; ``kept``: edited, and let go."""

    write: tuple[WriteFile, ...]
    remove: tuple[RemoveFile, ...]
    same: tuple[Path, ...]
    kept: tuple[Path, ...]
    files: dict[Path, tuple[str, ...]]

    @property
    def changed(self) -> frozenset[Path]:
        """All paths at which something happens."""
        return frozenset([step.path for step in self.write] + [step.path for step in self.remove])


def compare(host: Host, wanted: Iterable[HostFile], config_file: Path, previous: Manifest | None) -> Comparison:
    """What to write and what to remove.

    The configuration is the operator's once it is there: it is never written over,
    and stays where it was edited.  Raises ``PreflightError`` where another file is
    not the installation's, or no longer is.
    """
    recorded = previous.files if previous else {}
    write, same, conflicts = [], [], []
    files: dict[Path, tuple[str, ...]] = {}
    for file in wanted:
        old = content(host.at(file.path))
        new = digest(file.text)
        files[file.path] = (new,)
        if old == file.text:
            same.append(file.path)
            continue
        if old is not None and digest(old) not in recorded.get(file.path, ()):
            conflicts.append(file.path)
        write.append(WriteFile(file.path, file.text, old))
    if config_file in recorded and config_file not in files:
        files[config_file] = recorded[config_file]
    remove, kept = [], []
    for path, ours in recorded.items():
        text = content(host.at(path)) if path not in files else None
        if text is None:
            continue
        if digest(text) in ours:
            remove.append(RemoveFile(path, ours))
        elif previous and path == previous.config_file:
            kept.append(path)
        else:
            conflicts.append(path)
    if conflicts:
        raise conflict(conflicts, recorded)
    return Comparison(tuple(write), tuple(remove), tuple(same), tuple(kept), files)


def conflict(paths: list[Path], recorded: dict[Path, tuple[str, ...]]) -> PreflightError:
    """About the first of ``paths``, each of which holds what no installation wrote."""
    first = paths[0]
    more = f" (and {len(paths) - 1} more)" if len(paths) > 1 else ""
    drop_in = f"put your change into a drop-in with `systemctl edit {first.name}`, then remove {first}"
    if first in recorded:
        remedy = drop_in if first.parent == UNIT_DIRECTORY else f"move {first} away"
        return PreflightError(f"{first} was edited since it was installed{more}", "the file as it was written", remedy)
    return PreflightError(
        f"{first} is there, with another content than it would get{more}",
        "no file of that name, or one that an installation wrote",
        f"look at it, move it away, and install again: {' '.join(map(str, paths))}",
    )

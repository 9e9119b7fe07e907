"""Where every file of a directory lies on the disk: one after another, in the order of their paths."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

from bench.hdd.wire import ROOT

SECTOR_BYTES = 4096


@dataclass
class Node:
    """A file or a directory. ``size_bytes`` is what the file system says, which a fault may shorten."""

    inode: int
    path: str
    mode: int
    mtime_s: int
    size_bytes: int = 0
    start_bytes: int = 0
    descriptor: int = -1
    children: dict[bytes, int] = field(default_factory=dict)

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)


def natural(path: Path) -> list[int | str]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", str(path))]


def lay_out(source: Path) -> dict[int, Node]:
    """All nodes by inode. The files are opened here and stay open."""
    nodes = {ROOT: Node(ROOT, "", stat.S_IFDIR | 0o755, int(source.stat().st_mtime))}
    by_path = {source: nodes[ROOT]}
    position = 0
    for path in sorted(source.rglob("*"), key=natural):
        status = path.stat()
        node = Node(ROOT + len(nodes), str(path.relative_to(source)), status.st_mode & ~0o222, int(status.st_mtime))
        if not node.is_directory:
            node.size_bytes, node.start_bytes = status.st_size, position
            node.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            position += -(-status.st_size // SECTOR_BYTES) * SECTOR_BYTES
        by_path[path.parent].children[os.fsencode(path.name)] = node.inode
        by_path[path] = nodes[node.inode] = node
    return nodes

"""Files between host and guest: tar streams through the shell, since the guest's kernel shares no directories."""

from __future__ import annotations

import io
import shlex
import tarfile
from pathlib import Path, PurePosixPath
from typing import BinaryIO


def pack(source: Path, name: str, stream: BinaryIO) -> None:
    """Write a file or directory as ``name``: mode bits as they are, links followed, owned by root."""
    with tarfile.open(fileobj=stream, mode="w", dereference=True) as archive:
        archive.add(source, arcname=name, filter=_owned_by_root)


def unpack_command(directory: str) -> str:
    """Shell command of the guest that takes what ``pack`` wrote on its standard input."""
    target = shlex.quote(directory)
    return f"mkdir -p {target}; tar --extract --preserve-permissions --overwrite --directory={target}"


def pack_command(source: str) -> str:
    """Shell command of the guest that writes a file or directory to its standard output, links followed."""
    path = PurePosixPath(source)
    parent, name = shlex.quote(str(path.parent)), shlex.quote(path.name)
    return f"tar --create --dereference --directory={parent} -- {name}"


def unpack(data: bytes, target: Path) -> None:
    """Put what ``pack_command`` wrote below the directory ``target``."""
    target.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        archive.extractall(target, filter="data")


def _owned_by_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member

"""Where the swap file lies, and that nobody else can put another file there.

Root writes to the path and the kernel puts memory into it. Who may rename or
replace any part of the path could make root overwrite a file of their choice, or
could read the memory of every process.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from rigappliance.errors import PreflightError

# The kernel's own limit.
MOST_LINKS = 40


def safe_place(file: Path, owner_uid: int) -> Path:
    """``file`` (absolute) with the symbolic links of its directories resolved; the file itself need not exist.

    Raises ``PreflightError`` where a directory or a link on the way belongs to
    another user, or can be changed by one, and ``OSError`` where one is missing.
    """
    here = Path("/")
    check_directory(here, here.lstat(), file, owner_uid)
    names = list(reversed(file.parts[1:-1]))
    links = 0
    while names:
        name = names.pop()
        if name == "..":
            here = here.parent
            continue
        step = here / name
        status = step.lstat()
        if stat.S_ISLNK(status.st_mode):
            links += 1
            check_link(step, status, file, owner_uid, links)
            target = step.readlink()
            here = Path("/") if target.is_absolute() else here
            names += reversed(target.parts[1:] if target.is_absolute() else target.parts)
            continue
        check_directory(step, status, file, owner_uid)
        here = step
    return here / file.name


def check_link(link: Path, status: os.stat_result, file: Path, owner_uid: int, links: int) -> None:
    if links > MOST_LINKS:
        raise PreflightError(
            f"{link}, a directory of {file}, is a symbolic link that leads round in a circle",
            "a path that ends",
            "set memory.swap_file to a path without that link",
        )
    if status.st_uid not in (0, owner_uid):
        raise PreflightError(
            f"{link}, a directory of {file}, is a symbolic link of user {status.st_uid}",
            "a path that only root can change",
            "set memory.swap_file to a path without that link",
        )


def check_directory(directory: Path, status: os.stat_result, file: Path, owner_uid: int) -> None:
    if not stat.S_ISDIR(status.st_mode):
        raise PreflightError(f"{directory} is no directory", f"the directory of {file}", "set memory.swap_file")
    others_write = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not status.st_mode & stat.S_ISVTX
    if status.st_uid in (0, owner_uid) and not others_write:
        return
    mode = stat.S_IMODE(status.st_mode)
    raise PreflightError(
        f"{directory} belongs to user {status.st_uid} and has mode {mode:04o}: others than root could replace {file}",
        "directories that belong to root and that only root can write to, such as /var/lib",
        "set memory.swap_file to a path of that kind, or mend the owner and the mode of the directory",
    )

"""The file under the name that ends in ``.partial``: begun, or taken up again where it is one of ours."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from rigappliance.errors import PreflightError
from rigappliance.swapfile.area import FIELDS_AT, SIGNATURE
from rigappliance.swapfile.declared import PAGE_BYTES

# All that mkswap writes before the signature: version, last page, number of bad pages, UUID, label.
FIELDS_BYTES = 4 + 4 + 4 + 16 + 16


def open_partial(partial: Path, owner_uid: int) -> int | None:
    """A descriptor of an unfinished swap file, which the caller closes, or ``None`` where there is no file.

    Raises ``PreflightError`` where the file is not one of ours.
    """
    try:
        status = partial.lstat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode) or status.st_uid != owner_uid or status.st_nlink != 1:
        raise foreign(partial, "not a file that `rigappliance swap on` could have begun")
    fd = os.open(partial, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if is_ours(os.pread(fd, PAGE_BYTES, 0)):
        return fd
    os.close(fd)
    raise foreign(partial, "no unfinished swap file, since it has content")


def foreign(partial: Path, why: str) -> PreflightError:
    return PreflightError(
        f"{partial} is {why}: it was not touched",
        "no file of that name, under which the swap file is made",
        "move it away, or set memory.swap_file to another path",
    )


def is_ours(first_page: bytes) -> bool:
    """Zeros, and a swap area's header or a part of one: power can fail while it is written."""
    signature_at = PAGE_BYTES - len(SIGNATURE)
    between = first_page[FIELDS_AT + FIELDS_BYTES : signature_at]
    signature = first_page[signature_at:PAGE_BYTES]
    return not any(first_page[:FIELDS_AT]) and not any(between) and signature.strip(b"\0") in (b"", SIGNATURE)


def begin_partial(partial: Path) -> int:
    """A new empty file that nobody else can open. Raises ``OSError``, also where the name is taken."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(partial, flags, 0o600)

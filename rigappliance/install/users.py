"""Accounts of the host, as its files tell them."""

from __future__ import annotations

from pathlib import Path

from rigappliance.facts.host import read_text
from rigappliance.install.host import Host

PASSWD = Path("/etc/passwd")
GROUP = Path("/etc/group")
# What the user is described as in `render.plainhost.sysusers`.
COMMENT = "vLLM of rigappliance"


def user_entry(host: Host, name: str) -> list[str] | None:
    """The fields of passwd(5)."""
    return entry(host, PASSWD, name)


def group_entry(host: Host, name: str) -> list[str] | None:
    """The fields of group(5)."""
    return entry(host, GROUP, name)


def entry(host: Host, database: Path, name: str) -> list[str] | None:
    lines = (read_text(host.at(database)) or "").splitlines()
    return next((fields for line in lines if (fields := line.split(":"))[0] == name), None)


def uid_of(host: Host, name: str) -> int | None:
    fields = user_entry(host, name)
    return int(fields[2]) if fields and len(fields) > 2 and fields[2].isdecimal() else None


def is_ours(fields: list[str]) -> bool:
    """Whether an installation made the user: this one, or one before it that kept its state."""
    return len(fields) > 4 and fields[4] == COMMENT

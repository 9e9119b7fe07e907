"""May the engine open enough files and lock enough memory, here and in its unit?"""

from __future__ import annotations

import re
from collections.abc import Iterator

from rigappliance.facts.limits import Limit, LimitFacts
from rigappliance.preflight.finding import Finding, ok, warn
from rigappliance.units import SIZE_UNITS, format_size

# The engine raises its soft limit to 65535 by itself, as far as the hard one lets it (vllm/utils/system_utils.py).
# Below this it may run out: a socket a request, and libraries, pipes and mappings of each process.
FILES_LEAST = 4096
# The kernel's own default since 5.16 (MLOCK_LIMIT in linux/resource.h).
LOCKED_LEAST_BYTES = 8 * SIZE_UNITS["MiB"]
SUFFIXES = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}


def check_limits(limits: LimitFacts) -> list[Finding]:
    """All findings about this process and, where there is a unit, about it."""
    return [*check_own(limits), *check_unit(limits)]


def check_own(limits: LimitFacts) -> Iterator[Finding]:
    if limits.nofile:
        yield files("limits.nofile", "this process", limits.nofile.hard, "raise it: `ulimit -Hn 65536` as root")
    if limits.memlock:
        yield locked("limits.memlock", "this process", limits.memlock.hard, "raise it: `ulimit -Hl unlimited` as root")


def check_unit(limits: LimitFacts) -> Iterator[Finding]:
    """The hard value of ``LimitX=soft:hard``; what the unit does not set is systemd's default, which is enough."""
    edit = "remove {} from the unit and its drop-ins (`systemctl cat rigappliance`), then `systemctl daemon-reload`"
    unit = limits.unit or {}
    for name, check, judge in (
        ("LimitNOFILE", "limits.unit_nofile", files),
        ("LimitMEMLOCK", "limits.unit_memlock", locked),
    ):
        if limit := parse(unit.get(name, "")):
            yield judge(check, "the unit", limit.hard, edit.format(name))


def parse(value: str) -> Limit | None:
    """A limit as systemd writes it (systemd.exec(5)); ``None`` for what is unset or not understood."""
    numbers: list[int | None] = []
    for part in value.split(":"):
        match = re.fullmatch(r"(\d+)([KMGT]?)", part)
        if part == "infinity":
            numbers.append(None)
        elif match:
            numbers.append(int(match[1]) * SUFFIXES[match[2]])
        else:
            return None
    return Limit(numbers[0], numbers[-1])


def files(check: str, whose: str, limit: int | None, remedy: str) -> Finding:
    found = f"{whose} may open {'any number of' if limit is None else limit} files"
    if limit is None or limit >= FILES_LEAST:
        return ok(check, found)
    return warn(check, found, f"{FILES_LEAST} or more; the engine asks for 65535", remedy)


def locked(check: str, whose: str, limit: int | None, remedy: str) -> Finding:
    found = f"{whose} may lock {'any amount' if limit is None else format_size(limit)} of memory"
    if limit is None or limit >= LOCKED_LEAST_BYTES:
        return ok(check, found)
    return warn(check, found, f"{format_size(LOCKED_LEAST_BYTES)} or more, the kernel's own default", remedy)

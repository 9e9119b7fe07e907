"""The one machine that the locks speak of: CPython 3.12 on x86_64 Linux."""

from __future__ import annotations

from collections.abc import Iterable

from packaging.markers import Marker
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

PYTHON = (3, 12)
# llguidance, which vLLM needs, has no wheel for less; nothing in either lock asks for more.
GLIBC = (2, 31)

ENVIRONMENT = {
    "implementation_name": "cpython",
    "implementation_version": "3.12.0",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    # Nix cannot know the running kernel either.
    "platform_release": "",
    "platform_system": "Linux",
    "platform_version": "",
    "python_full_version": "3.12.0",
    "python_version": "3.12",
    "sys_platform": "linux",
}


def _tag_ranks() -> dict[Tag, int]:
    minors = range(GLIBC[1], 4, -1)
    older = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
    platforms = []
    for minor in minors:
        platforms.append(f"manylinux_2_{minor}_x86_64")
        if minor in older:
            platforms.append(f"{older[minor]}_x86_64")
    interpreter = f"cp{PYTHON[0]}{PYTHON[1]}"
    tags = [
        *cpython_tags(PYTHON, platforms=platforms),
        *compatible_tags(PYTHON, interpreter, platforms),
    ]
    ranks: dict[Tag, int] = {}
    for rank, tag in enumerate(tags):
        ranks.setdefault(tag, rank)
    return ranks


TAG_RANKS = _tag_ranks()


def wheel_rank(file: str) -> int | None:
    """How well the wheel named ``file`` fits the target: 0 is best, ``None`` does not fit or is no wheel."""
    try:
        tags = parse_wheel_filename(file)[3]
    except InvalidWheelFilename:
        return None
    return min((TAG_RANKS[tag] for tag in tags if tag in TAG_RANKS), default=None)


def holds(marker: str, extras: Iterable[str] = ()) -> bool:
    """Whether ``marker`` is true on the target, with none or any one of ``extras`` asked for."""
    if not marker:
        return True
    parsed = Marker(marker)
    return any(parsed.evaluate({**ENVIRONMENT, "extra": extra}) for extra in ["", *extras])

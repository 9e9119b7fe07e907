"""Poetry's version constraints, as far as pyproject.toml and lock files use them."""

from __future__ import annotations

import re

from packaging.specifiers import SpecifierSet
from packaging.version import Version


def satisfies(version: str, constraint: str) -> bool:
    """Whether ``version`` meets ``constraint``: ``^1.2``, ``~1.2``, ``1.*``, ``1.2``, ``>=1,<2 || >=3``, ``*``.

    Raises ``ValueError`` where either cannot be read.
    """
    return any(_meets_all(version, alternative) for alternative in constraint.split("||"))


def _meets_all(version: str, terms: str) -> bool:
    # A space may stand between two terms, or within one, after its operator.
    separated = re.sub(r"([<>=!~^])\s+", r"\1", terms.strip())
    return all(
        SpecifierSet(_standard(term)).contains(version, prereleases=True) for term in re.split(r"[,\s]+", separated)
    )


def _standard(term: str) -> str:
    """``term`` in the notation of Python's packaging standard."""
    if term in ("", "*"):
        return ""
    if term.startswith("^"):
        return f">={term[1:]},<{_next_breaking(Version(term[1:]).release)}"
    if term.startswith("~") and not term.startswith("~="):
        release = Version(term[1:]).release
        kept = release[: min(len(release), 2)]
        return f">={term[1:]},<{_increased(kept)}"
    return term if term[0] in "<>=!~" else f"=={term}"


def _next_breaking(release: tuple[int, ...]) -> str:
    # The first part that is not 0 is the one that promises compatibility.
    significant = next((place for place, part in enumerate(release) if part), len(release) - 1)
    return _increased(release[: significant + 1])


def _increased(release: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in (*release[:-1], release[-1] + 1))

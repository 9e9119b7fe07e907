"""From Poetry's lock for every platform to one for the target alone."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from itertools import product
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import Version

from rigappliance.errors import ConfigError
from tools.locks.constraints import satisfies
from tools.locks.lockfile import Edge, Lock, Package, parse_edges
from tools.locks.target import GLIBC, PYTHON, holds, wheel_rank

PYTHON_VERSION = ".".join(str(part) for part in PYTHON)
ROUNDS = 20


@dataclass(frozen=True)
class Wanted:
    """What the edges that lead to one package ask of it."""

    constraints: frozenset[str]
    extras: frozenset[str]


def narrowed(lock: Lock, pyproject: Mapping[str, Any]) -> Lock:
    """``lock`` with what the target needs and no more.

    poetry2nix evaluates neither lists of alternatives nor which extras were
    asked for: what it does not understand it drops, or takes from its own
    package set, without a word.  So every edge that holds here becomes a plain
    constraint, those that came through an extra included, and all else goes.

    Raises ``ConfigError`` where no wheel fits, where no version meets every
    edge, or where packages need each other in a circle.
    """
    candidates: dict[str, list[Package]] = defaultdict(list)
    for package in lock.packages:
        if holds(package.marker, lock.extras):
            candidates[package.name].append(package)
    wanted, chosen = _closure(root_edges(pyproject), candidates)
    packages = tuple(_for_target(chosen[name], wanted[name].extras, chosen) for name in sorted(chosen))
    circle = first_circle({package.name: package.dependencies for package in packages})
    if circle:
        raise ConfigError(
            f"packages need each other in a circle: {' → '.join(circle)}",
            "none, because Nix cannot evaluate one",
            "leave the least needed of these edges out in tools/locks/narrow.py, and say why there",
        )
    return replace(lock, packages=packages)


def root_edges(pyproject: Mapping[str, Any]) -> dict[str, tuple[Edge, ...]]:
    """What ``pyproject`` itself asks for, its extras' packages included, by canonical name."""
    dependencies = pyproject["tool"]["poetry"]["dependencies"]
    return {
        str(canonicalize_name(name)): parse_edges(value) for name, value in dependencies.items() if name != "python"
    }


def edge_holds(edge: Edge, extras: Iterable[str] = ()) -> bool:
    """Whether ``edge`` is one of the target's, its package having been asked for with ``extras``."""
    return satisfies(f"{PYTHON_VERSION}.0", edge.python) and holds(edge.marker, extras)


def first_circle(needs: Mapping[str, Iterable[str]]) -> list[str]:
    """A circle among ``needs``, its first name repeated at the end; empty where there is none."""
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as circle:
        return [str(name) for name in circle.args[1]]
    return []


def _closure(
    roots: Mapping[str, tuple[Edge, ...]], candidates: Mapping[str, list[Package]]
) -> tuple[dict[str, Wanted], dict[str, Package]]:
    """Every package that the roots need on the target, and what is wanted of it, by name.

    The solver's answer can hold two versions of one package for environments
    that overlap only on paper, so the choice is made here: by the edges that
    lead to it.  Edges depend on the choice and the choice on the edges, hence
    the rounds; two were enough so far.
    """
    chosen: dict[str, Package] = {}
    for _ in range(ROUNDS):
        wanted = _walk(roots, chosen)
        found = {name: _best(candidates[name], want) for name, want in wanted.items() if candidates.get(name)}
        if found == chosen:
            break
        chosen = found
    for name, want in wanted.items():
        if name not in chosen or _meets(chosen[name], want) != len(want.constraints):
            versions = ", ".join(package.version for package in candidates.get(name, [])) or "none at all"
            raise ConfigError(
                f"no locked version of {name} fits: there is {versions}",
                f"one that meets {' and '.join(sorted(want.constraints))}",
                "pin a version of it in pyproject.toml and lock again",
            )
    return wanted, chosen


def _walk(roots: Mapping[str, tuple[Edge, ...]], chosen: Mapping[str, Package]) -> dict[str, Wanted]:
    """What is wanted of every package that can be reached through the versions chosen so far."""
    constraints: dict[str, set[str]] = defaultdict(set)
    extras: dict[str, set[str]] = defaultdict(set)
    waiting = [(name, edge) for name, edges in roots.items() for edge in edges if edge_holds(edge)]
    walked = set()
    while waiting:
        name, edge = waiting.pop()
        if (name, edge) in walked:
            continue
        walked.add((name, edge))
        constraints[name].add(edge.constraint)
        if name not in chosen:
            continue
        asked = _with_aliases(chosen[name], edge.extras)
        extras[name] |= asked
        waiting += [
            (needed, one)
            for needed, edges in chosen[name].dependencies.items()
            for one in edges
            if needed != name and edge_holds(one, asked)
        ]
    return {name: Wanted(frozenset(texts), frozenset(extras[name])) for name, texts in constraints.items()}


def _with_aliases(package: Package, extras: Iterable[str]) -> set[str]:
    """``extras`` and those of the same package that they stand for: ``image`` = ``itself[opencv]``."""
    found: set[str] = set()
    waiting = [str(canonicalize_name(extra)) for extra in extras]
    while waiting:
        extra = waiting.pop()
        if extra in found:
            continue
        found.add(extra)
        for requirement in package.extras.get(extra, ()):
            alias = re.match(r"([\w.-]+)\[([^]]+)\]", requirement)
            if alias and canonicalize_name(alias[1]) == package.name:
                waiting += [str(canonicalize_name(name.strip())) for name in alias[2].split(",")]
    return found


def _meets(package: Package, want: Wanted) -> int:
    return sum(satisfies(package.version, constraint) for constraint in want.constraints)


def _best(candidates: list[Package], want: Wanted) -> Package:
    return max(candidates, key=lambda package: (_meets(package, want), Version(package.version)))


def _for_target(package: Package, extras: Iterable[str], chosen: Mapping[str, Package]) -> Package:
    """``package`` with its best wheel alone, and with the edges that hold for ``extras`` as plain constraints."""
    ranks = {file: rank for file in package.files if (rank := wheel_rank(file.file)) is not None}
    if not ranks:
        raise ConfigError(
            f"{package.name} {package.version} has no wheel for the target",
            f"one for CPython {PYTHON_VERSION} on x86_64 Linux with glibc {GLIBC[0]}.{GLIBC[1]}",
            "pin a version that has one in pyproject.toml; nothing is compiled on a rig",
        )
    held = {
        name: [edge.constraint for edge in edges if edge_holds(edge, extras)]
        for name, edges in package.dependencies.items()
        if name in chosen and name != package.name
    }
    return replace(
        package,
        # What is left says something only where it asks for an extra of the project's own.
        marker="" if holds(package.marker) else package.marker,
        # The name decides between wheels that fit equally well, so that the choice is always the same.
        files=(min(ranks, key=lambda file: (ranks[file], file.file)),),
        dependencies={name: (Edge(_all_of(texts)),) for name, texts in held.items() if texts},
        extras={},
    )


def _all_of(constraints: Iterable[str]) -> str:
    """One constraint that asks for all of ``constraints``."""
    distinct = sorted(set(constraints) - {"*"})
    choices = product(*([text.strip() for text in constraint.split("||")] for constraint in distinct))
    return " || ".join(",".join(terms) for terms in choices) or "*"

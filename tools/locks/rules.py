"""What has to be true of a lock. Needs no network, so continuous integration asks every time."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from typing import Any

from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import Version

from tools.locks.constraints import satisfies
from tools.locks.index import index_url
from tools.locks.lockfile import Lock, Package, content_hash, parse
from tools.locks.narrow import edge_holds, first_circle, root_edges
from tools.locks.target import holds, wheel_rank

HOST = re.compile(r"://|\bwww\.|\b[a-z0-9-]+\.(?:org|com|net|io|dev)\b(?!-)", re.IGNORECASE)


def findings(pyproject_text: str, lock_text: str) -> list[str]:
    """All that is wrong with a lock and its project, a sentence each; empty where nothing is."""
    try:
        pyproject = tomllib.loads(pyproject_text)
        lock = parse(lock_text)
    except (tomllib.TOMLDecodeError, KeyError) as error:
        return [f"cannot be read: {error}"]
    return [
        *stale(pyproject, lock),
        *hosts(lock_text),
        *doubles(lock),
        *(finding for package in lock.packages for finding in [*wrong_files(package), *foreign(package, lock)]),
        *open_edges(pyproject, lock),
        *unreached(pyproject, lock),
        *circles(lock),
    ]


def engine_findings(lock_text: str, engine_version: str, torch_version: str) -> list[str]:
    """What is wrong with the engine's lock besides: it holds another engine than the product was written for."""
    locked = {package.name: package.version for package in parse(lock_text).packages}
    expected = {"vllm": engine_version, "torch": torch_version}
    return [
        f"{name} is {locked.get(name, 'missing')}, expected {version}"
        for name, version in expected.items()
        if locked.get(name) != version
    ]


def torch_of_cpu_engine(pyproject_text: str) -> str:
    """The version of torch that the demo's engine runs on, so that both engines are the same. Raises ``KeyError``."""
    overrides: list[str] = tomllib.loads(pyproject_text)["tool"]["uv"]["override-dependencies"]
    versions = [text.removeprefix("torch==") for text in overrides if text.startswith("torch==")]
    if len(versions) != 1:
        raise KeyError("override-dependencies: torch==")
    return versions[0]


def stale(pyproject: Mapping[str, Any], lock: Lock) -> list[str]:
    expected = content_hash(pyproject)
    if lock.content_hash == expected:
        return []
    return [f"pyproject.toml was changed after it was locked: content-hash {lock.content_hash}, expected {expected}"]


def hosts(lock_text: str) -> list[str]:
    """Lines that would send an installer to some host: only the user's own settings may."""
    index = re.escape(index_url().split("://")[-1].split("/")[0].rsplit("@")[-1])
    found = []
    for number, line in enumerate(lock_text.splitlines(), 1):
        match = HOST.search(line) or re.search(index, line)
        if match or line == "[package.source]":
            found.append(f"line {number} names a source: {line.strip()}")
    return found


def doubles(lock: Lock) -> list[str]:
    names = Counter(package.name for package in lock.packages)
    return [f"{name} is there {count} times" for name, count in names.items() if count > 1]


def wrong_files(package: Package) -> list[str]:
    """Not exactly one wheel of the package's name and version, for the target, with its SHA-256."""
    if len(package.files) != 1:
        return [f"{package.name} has {len(package.files)} files, expected one wheel"]
    file = package.files[0]
    found = []
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", file.hash):
        found.append(f"{file.file} has no SHA-256: {file.hash}")
    try:
        name, version, _, _ = parse_wheel_filename(file.file)
    except InvalidWheelFilename:
        return [*found, f"{file.file} is no wheel"]
    if (name, version) != (package.name, Version(package.version)):
        found.append(f"{file.file} is not {package.name} {package.version}")
    if wheel_rank(file.file) is None:
        found.append(f"{file.file} does not fit the target")
    return found


def foreign(package: Package, lock: Lock) -> list[str]:
    """A package that the target does not need, or whose Python it does not have."""
    found = []
    if not holds(package.marker, lock.extras):
        found.append(f"{package.name} is for another environment: {package.marker}")
    if not satisfies("3.12.0", package.python_versions):
        found.append(f"{package.name} is for another Python: {package.python_versions}")
    return found


def open_edges(pyproject: Mapping[str, Any], lock: Lock) -> list[str]:
    """Needs of the project or of a package that the lock does not meet, as poetry2nix reads them: without extras."""
    versions = {package.name: package.version for package in lock.packages}
    needs = [("the project", root_edges(pyproject)), *((one.name, one.dependencies) for one in lock.packages)]
    found = []
    for owner, dependencies in needs:
        for name, edges in dependencies.items():
            for edge in edges:
                if not edge_holds(edge):
                    continue
                if name not in versions:
                    found.append(f"{owner} needs {name} {edge.constraint}, which is missing")
                elif not satisfies(versions[name], edge.constraint):
                    found.append(f"{owner} needs {name} {edge.constraint}, locked is {versions[name]}")
    return found


def unreached(pyproject: Mapping[str, Any], lock: Lock) -> list[str]:
    """Packages that nothing leads to, which poetry2nix would leave out without a word."""
    needs = {package.name: _held(package) for package in lock.packages}
    reached: set[str] = set()
    waiting = [name for name, edges in root_edges(pyproject).items() if any(edge_holds(edge) for edge in edges)]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += needs.get(name, [])
    return [f"{name} is locked, but nothing needs it" for name in needs if name not in reached]


def _held(package: Package) -> list[str]:
    return [name for name, edges in package.dependencies.items() if any(edge_holds(edge) for edge in edges)]


def circles(lock: Lock) -> list[str]:
    circle = first_circle({package.name: _held(package) for package in lock.packages})
    return [f"packages need each other in a circle: {' → '.join(circle)}"] if circle else []

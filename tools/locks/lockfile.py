"""Lock files as values, and the text that Poetry reads."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from packaging.utils import canonicalize_name

# What Poetry compares to say whether pyproject.toml changed since it was locked.
HASHED_ALWAYS = ("dependencies", "source", "extras", "dev-dependencies")
HASHED_WHERE_SET = ("group",)


@dataclass(frozen=True)
class LockedFile:
    file: str
    hash: str


@dataclass(frozen=True)
class Edge:
    """One way in which a package needs another: which versions, with which extras, where."""

    constraint: str
    extras: tuple[str, ...] = ()
    marker: str = ""
    python: str = "*"


@dataclass(frozen=True)
class Package:
    name: str
    version: str
    optional: bool
    python_versions: str
    groups: tuple[str, ...]
    marker: str
    files: tuple[LockedFile, ...]
    # By canonical name; several edges are alternatives for different environments.
    dependencies: Mapping[str, tuple[Edge, ...]] = field(default_factory=dict)
    # As Poetry writes them: requirement strings by extra.
    extras: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Lock:
    packages: tuple[Package, ...]
    extras: Mapping[str, tuple[str, ...]]
    lock_version: str
    python_versions: str
    content_hash: str


def parse_edges(value: Any) -> tuple[Edge, ...]:
    """A dependency of pyproject.toml or of a lock: a constraint, a table, or a list of either."""
    if isinstance(value, list):
        return tuple(edge for entry in value for edge in parse_edges(entry))
    if isinstance(value, str):
        return (Edge(value),)
    return (
        Edge(
            value.get("version", "*"),
            tuple(value.get("extras", ())),
            value.get("markers", ""),
            value.get("python", "*"),
        ),
    )


def parse(text: str) -> Lock:
    """The lock in ``text``. Raises ``KeyError`` or ``tomllib.TOMLDecodeError`` where it is none."""
    data = tomllib.loads(text)
    metadata = data["metadata"]
    return Lock(
        tuple(_package(entry) for entry in data["package"]),
        {extra: tuple(names) for extra, names in data.get("extras", {}).items()},
        metadata["lock-version"],
        metadata["python-versions"],
        metadata["content-hash"],
    )


def _package(entry: dict[str, Any]) -> Package:
    marker = entry.get("markers", "")
    if isinstance(marker, dict):
        marker = " or ".join(f"({text})" for text in sorted(marker.values()))
    return Package(
        str(canonicalize_name(entry["name"])),
        entry["version"],
        entry["optional"],
        entry["python-versions"],
        tuple(entry["groups"]),
        marker,
        tuple(LockedFile(file["file"], file["hash"]) for file in entry["files"]),
        {str(canonicalize_name(name)): parse_edges(value) for name, value in entry.get("dependencies", {}).items()},
        {extra: tuple(values) for extra, values in entry.get("extras", {}).items()},
    )


def text_of(lock: Lock, comment: str) -> str:
    """The lock as a file: packages and edges in the order of their names, so that equal locks are equal bytes."""
    parts = ["".join(f"# {line}\n" for line in comment.splitlines())]
    parts += [_package_text(package) for package in sorted(lock.packages, key=lambda package: package.name)]
    if lock.extras:
        rows = "".join(f"{_key(extra)} = {_value(list(names))}\n" for extra, names in sorted(lock.extras.items()))
        parts.append(f"[extras]\n{rows}")
    parts.append(
        f"[metadata]\nlock-version = {_value(lock.lock_version)}\npython-versions = {_value(lock.python_versions)}\n"
        f"content-hash = {_value(lock.content_hash)}\n"
    )
    return "\n".join(parts)


def _package_text(package: Package) -> str:
    lines = [
        "[[package]]",
        f"name = {_value(package.name)}",
        f"version = {_value(package.version)}",
        # Some name a host, and no installer reads them.
        'description = ""',
        f"optional = {_value(package.optional)}",
        f"python-versions = {_value(package.python_versions)}",
        f"groups = {_value(list(package.groups))}",
    ]
    if package.marker:
        lines.append(f"markers = {_value(package.marker)}")
    lines.append("files = [")
    lines += [f"    {{file = {_value(file.file)}, hash = {_value(file.hash)}}}," for file in package.files]
    lines.append("]")
    if package.dependencies:
        lines += ["", "[package.dependencies]"]
        lines += [f"{_key(name)} = {_edges_text(edges)}" for name, edges in sorted(package.dependencies.items())]
    return "\n".join(lines) + "\n"


def _edges_text(edges: tuple[Edge, ...]) -> str:
    texts = [_edge_text(edge) for edge in edges]
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"


def _edge_text(edge: Edge) -> str:
    if edge == Edge(edge.constraint):
        return _value(edge.constraint)
    table: dict[str, Any] = {"version": edge.constraint}
    if edge.extras:
        table["extras"] = list(edge.extras)
    if edge.marker:
        table["markers"] = edge.marker
    if edge.python != "*":
        table["python"] = edge.python
    return f"{{{', '.join(f'{key} = {_value(value)}' for key, value in table.items())}}}"


def _value(value: str | bool | list[str]) -> str:
    # JSON's strings, truth values and lists of strings are TOML's.
    return json.dumps(value, ensure_ascii=False)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _value(name)


def content_hash(pyproject: Mapping[str, Any]) -> str:
    """The digest by which Poetry knows that a lock belongs to ``pyproject``, of which it reads ``tool.poetry``."""
    poetry = pyproject["tool"]["poetry"]
    relevant = {key: poetry.get(key) for key in HASHED_ALWAYS}
    relevant |= {key: poetry[key] for key in HASHED_WHERE_SET if key in poetry}
    return sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()

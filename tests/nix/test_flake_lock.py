"""flake.lock is a whole and true lock of flake.nix. Plain Python: no Nix is needed to see that."""

from __future__ import annotations

import base64
import binascii
import copy
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
FLAKE = (ROOT / "flake.nix").read_text(encoding="utf-8")
LOCK_TEXT = (ROOT / "flake.lock").read_text(encoding="utf-8")
TEMPLATE = (ROOT / "templates" / "rig" / "flake.nix").read_text(encoding="utf-8")

URL = re.compile(r'^\s*([\w-]+)\.url = "([^"]+)";', re.MULTILINE)
FOLLOWS = re.compile(r'^\s*((?:[\w-]+\.inputs\.)*[\w-]+)\.follows = "([^"]+)";', re.MULTILINE)

Lock = dict[str, Any]


def declared(flake: str) -> tuple[dict[str, str], dict[tuple[str, ...], list[str]]]:
    """The urls of a flake's inputs, and what its inputs and theirs follow, by their paths."""
    body = flake.split("inputs = {", 1)[1].split("\n  };", 1)[0]
    follows = {tuple(path.split(".inputs.")): target.split("/") for path, target in FOLLOWS.findall(body)}
    return dict(URL.findall(body)), follows


def original(url: str) -> dict[str, str]:
    """What a lock keeps of ``github:OWNER/REPO[/REF]``."""
    kind, _, rest = url.partition(":")
    owner, repo, *ref = rest.split("/")
    return {"type": kind, "owner": owner, "repo": repo, **({"ref": ref[0]} if ref else {})}


def node_at(lock: Lock, path: list[str], seen: tuple[tuple[str, ...], ...] = ()) -> str | None:
    """The name of the node that an input's path from the root leads to, through what it follows."""
    if tuple(path) in seen:
        return None
    name: str = lock["root"]
    for step in path:
        target = lock["nodes"].get(name, {}).get("inputs", {}).get(step)
        if isinstance(target, list):
            target = node_at(lock, target, (*seen, tuple(path)))
        if target is None:
            return None
        name = target
    return name if name in lock["nodes"] else None


def problems(flake: str, lock: Lock) -> Iterator[str]:
    urls, follows = declared(flake)
    nodes = lock["nodes"]
    if lock["version"] != 7:
        yield f"version {lock['version']}"
    if set(nodes[lock["root"]].get("inputs", {})) != set(urls):
        yield "the root's inputs are not those of flake.nix"
    for name, url in urls.items():
        node = node_at(lock, [name])
        if node is None:
            yield f"{name} is not locked"
        elif nodes[node].get("original") != original(url):
            yield f"{name} is locked for another url"
    for path, target in follows.items():
        inner = node_at(lock, list(path[:-1]))
        if inner is None or nodes[inner].get("inputs", {}).get(path[-1]) != target:
            yield f"{'.'.join(path)} does not follow {'/'.join(target)}"

    reached: set[str] = set()
    waiting = [lock["root"]]
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        reached.add(name)
        for step, target in nodes[name].get("inputs", {}).items():
            found = node_at(lock, target) if isinstance(target, list) else target
            if found not in nodes:
                yield f"{name}'s input {step} leads nowhere"
            else:
                waiting.append(found)
    for name in set(nodes) - reached:
        yield f"{name} is not reached"

    for name, node in nodes.items():
        if name != lock["root"]:
            yield from (f"{name}: {problem}" for problem in pin_problems(node))


def pin_problems(node: dict[str, Any]) -> Iterator[str]:
    locked, asked = node["locked"], node["original"]
    if locked["type"] != "github":
        yield f"type {locked['type']}"
    if not re.fullmatch(r"[0-9a-f]{40}", locked["rev"]):
        yield "rev is not a commit"
    algorithm, _, digest = locked["narHash"].partition("-")
    try:
        size = len(base64.b64decode(digest, validate=True))
    except binascii.Error:
        size = 0
    if algorithm != "sha256" or size != 32:
        yield "narHash is not an SRI hash of 32 bytes"
    # After the first flakes, and a commit, not a moment of today.
    if not 1_500_000_000 < locked["lastModified"] < 2_500_000_000:
        yield "lastModified is no time"
    if (locked["owner"], locked["repo"]) != (asked["owner"], asked["repo"]):
        yield "locked from another repository than asked for"
    if asked.get("rev", locked["rev"]) != locked["rev"]:
        yield "locked at another commit than asked for"


def test_the_lock_is_whole() -> None:
    assert list(problems(FLAKE, json.loads(LOCK_TEXT))) == []


def test_nix_would_write_the_same_text() -> None:
    assert json.dumps(json.loads(LOCK_TEXT), indent=2, sort_keys=True) + "\n" == LOCK_TEXT


def test_everything_works_on_one_nixpkgs() -> None:
    nodes = json.loads(LOCK_TEXT)["nodes"]
    assert [name for name, node in nodes.items() if node.get("locked", {}).get("repo") == "nixpkgs"] == ["nixpkgs"]


def test_the_template_follows_an_input_that_is_there() -> None:
    urls, follows = declared(TEMPLATE)
    assert list(urls) == ["rigappliance"]
    assert follows == {("nixpkgs",): ["rigappliance", "nixpkgs"]}
    assert node_at(json.loads(LOCK_TEXT), follows[("nixpkgs",)][1:]) == "nixpkgs"


def drop(*path: str) -> Callable[[Lock], None]:
    def damage(lock: Lock) -> None:
        inner = lock
        for step in path[:-1]:
            inner = inner[step]
        del inner[path[-1]]

    return damage


def put(value: object, *path: str) -> Callable[[Lock], None]:
    def damage(lock: Lock) -> None:
        inner = lock
        for step in path[:-1]:
            inner = inner[step]
        assert inner.get(path[-1]) != value
        inner[path[-1]] = value

    return damage


NIXPKGS = ("nodes", "nixpkgs", "locked")
POETRY2NIX = ("nodes", "poetry2nix", "inputs")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (put(6, "version"), "version 6"),
        (drop("nodes", "root", "inputs", "poetry2nix"), "not those of flake.nix"),
        (put("flake-utils", "nodes", "root", "inputs", "another"), "not those of flake.nix"),
        (put("nixos-25.11", "nodes", "nixpkgs", "original", "ref"), "nixpkgs is locked for another url"),
        (put("systems", *POETRY2NIX, "nixpkgs"), "poetry2nix.nixpkgs does not follow nixpkgs"),
        (put(["nixpkgs", "none"], "nodes", "treefmt-nix", "inputs", "nixpkgs"), "input nixpkgs leads nowhere"),
        (put(["poetry2nix", "nixpkgs"], *POETRY2NIX, "nixpkgs"), "input nixpkgs leads nowhere"),
        (put("none", *POETRY2NIX, "systems"), "input systems leads nowhere"),
        (drop(*POETRY2NIX, "treefmt-nix"), "treefmt-nix is not reached"),
        (drop("nodes", "flake-utils", "inputs"), "systems is not reached"),
        (put("fcb8fcd6bf2d", *NIXPKGS, "rev"), "rev is not a commit"),
        (put("sha256-9BG7OgUWdu0ONDO5X2q6", *NIXPKGS, "narHash"), "narHash is not"),
        (put("sha256-9BG7OgUWdu0ONDO5X2q6+K4bsuBITkX/3W4nNJu1It", *NIXPKGS, "narHash"), "narHash is not"),
        (put("sha512-9BG7OgUWdu0ONDO5X2q6+K4bsuBITkX/3W4nNJu1Ito=", *NIXPKGS, "narHash"), "narHash is not"),
        (put(0, *NIXPKGS, "lastModified"), "lastModified is no time"),
        (put("somebody", *NIXPKGS, "owner"), "another repository"),
        (put("0" * 40, "nodes", "nixpkgs", "original", "rev"), "another commit"),
        (put("path", *NIXPKGS, "type"), "type path"),
    ],
)
def test_damage_is_found(damage: Callable[[Lock], None], said: str) -> None:
    lock = copy.deepcopy(json.loads(LOCK_TEXT))
    damage(lock)
    assert any(said in problem for problem in problems(FLAKE, lock))


def test_an_input_that_was_added_is_missing() -> None:
    flake = FLAKE.replace("  inputs = {\n", '  inputs = {\n    disko.url = "github:nix-community/disko";\n')
    assert "disko is not locked" in list(problems(flake, json.loads(LOCK_TEXT)))


def test_a_branch_that_was_changed_is_found() -> None:
    flake = FLAKE.replace("nixpkgs/nixos-26.05", "nixpkgs/nixos-26.11")
    assert "nixpkgs is locked for another url" in list(problems(flake, json.loads(LOCK_TEXT)))

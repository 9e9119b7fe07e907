"""The VM tests: each has a machine that evaluates, and a script that both backends can run."""

from __future__ import annotations

import ast
import builtins
from pathlib import Path

import pytest

from rigappliance.configfile import load_config
from rigappliance.preflight.declared import check_declared
from tests.nix.bench import ROOT, evaluate

TESTS = ROOT / "nixos/tests"
NAMES = sorted(file.stem for file in TESTS.glob("*.nix"))

# What NixOS's test driver and the package's own guests have in common.
SHARED = frozenset(
    {
        "copy_from_host",
        "crash",
        "execute",
        "fail",
        "shutdown",
        "start",
        "succeed",
        "wait_for_open_port",
        "wait_for_unit",
        "wait_until_succeeds",
    }
)


def script(name: str) -> Path:
    return TESTS / f"{name}.py"


def test_there_are_tests() -> None:
    assert {"service", "swap"} <= set(NAMES)
    assert {file.stem for file in TESTS.glob("*.py")} == set(NAMES)


def test_each_is_a_test_of_nixos_with_its_script() -> None:
    entries = " ".join(
        f'{name} = {{ derivation = instantiate (vmTest "{name}"); inherit (vmTest "{name}") testScript; }};'
        for name in NAMES
    )
    found = evaluate(f"{{ {entries} }}")
    assert {name: seen["testScript"] for name, seen in found.items()} == {
        name: script(name).read_text(encoding="utf-8") for name in NAMES
    }
    assert all(seen["derivation"].endswith(f"-rigappliance-{name}.drv") for name, seen in found.items())


@pytest.mark.parametrize("name", NAMES)
def test_a_script_uses_only_what_both_backends_have(name: str) -> None:
    tree = ast.parse(script(name).read_text(encoding="utf-8"))
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "machine"
    }
    assert used
    assert used - SHARED == set()
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    known = {node.id for node in names if isinstance(node.ctx, ast.Store)} | set(dir(builtins))
    known |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    known |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    assert {node.id for node in names} - known == {"machine"}


@pytest.mark.parametrize("name", NAMES)
def test_the_declaration_serves_both_backends(name: str) -> None:
    """The same file is the node's settings here and the configuration of a guest there."""
    declared = load_config(TESTS / f"{name}.json", environ={})
    assert [finding.check for finding in check_declared(declared) if finding.severity == "fail"] == []

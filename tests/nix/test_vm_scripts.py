"""The VM tests: each has a machine that evaluates, and a script that both backends can run."""

from __future__ import annotations

import ast
import builtins
import inspect
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rigappliance.configfile import load_config
from rigappliance.preflight.declared import check_declared
from rigappliance.vmtest import Machine
from rigappliance.vmtest.cases import Case, cases
from tests.nix.bench import ROOT, evaluate

CASES = cases()
NAMES = [case.name for case in CASES]

# What NixOS's test driver and the package's own guests have in common, with the parameters' names there
# (nixos/lib/test-driver/src/test_driver/machine of nixpkgs, August 2026).
SHARED: dict[str, tuple[str, ...]] = {
    "copy_from_host": ("source", "target"),
    "copy_from_machine": ("source", "target_dir"),
    "crash": (),
    # Not check_return and check_output: what is not waited for there is still in the way of the next command.
    "execute": ("command", "timeout"),
    "fail": ("commands", "timeout"),
    "get_console_log": (),
    "get_unit_info": ("unit", "user"),
    "get_unit_property": ("unit", "property", "user"),
    "log": ("msg",),
    "nested": ("msg", "attrs"),
    "reboot": (),
    "require_unit_state": ("unit", "require_state"),
    "shutdown": (),
    "sleep": ("secs",),
    "start": ("allow_reboot",),
    "start_job": ("jobname", "user"),
    "stop_job": ("jobname", "user"),
    "succeed": ("commands", "timeout"),
    "systemctl": ("q", "user"),
    "wait_for_closed_port": ("port", "addr", "timeout"),
    "wait_for_console_text": ("regex", "timeout"),
    "wait_for_file": ("filename", "timeout"),
    "wait_for_open_port": ("port", "addr", "timeout"),
    "wait_for_shutdown": (),
    "wait_for_unit": ("unit", "user", "timeout"),
    "wait_until_fails": ("command", "timeout"),
    "wait_until_succeeds": ("command", "timeout"),
}
NOT_SHARED_PARAMETERS = {"self", "check_return", "check_output"}


def whole(case: Case) -> str:
    """What is executed: the prelude and the script."""
    return case.prelude.read_text(encoding="utf-8") + case.script.read_text(encoding="utf-8")


def test_there_are_tests() -> None:
    assert {"service", "swap"} <= set(NAMES)
    # Nothing lies beside the scripts that belongs to none of them.
    stems = {file.stem for file in (ROOT / "nixos/tests").iterdir() if file.is_file()}
    assert stems == set(NAMES)


@pytest.fixture(scope="module")
def evaluated() -> dict[str, dict[str, Any]]:
    """What each test is under NixOS; one evaluation, since each takes seconds."""
    entries = " ".join(f'"{name}" = seen "{name}";' for name in NAMES)
    found: dict[str, dict[str, Any]] = evaluate(
        f"""let seen = name: let test = vmTest name; node = test.nodes.machine; in {{
          derivation = instantiate test;
          inherit (test) testScript;
          memory = node.virtualisation.memorySize;
          setup = node.systemd.units."vmtest-setup.service".text;
          swap = node.systemd.units ? "rigappliance-swap.service";
        }}; in {{ {entries} }}"""
    )
    return found


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_each_is_a_test_of_nixos_with_its_script(case: Case, evaluated: dict[str, dict[str, Any]]) -> None:
    seen = evaluated[case.name]
    assert seen["derivation"].endswith(f"-rigappliance-{case.name}.drv")
    assert seen["testScript"] == whole(case)


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_a_machine_of_nixos_has_what_its_test_needs(case: Case, evaluated: dict[str, dict[str, Any]]) -> None:
    seen = evaluated[case.name]
    assert seen["memory"] * 1024**2 == case.needs.memory
    assert "-setup.sh /nix/store/" in seen["setup"]
    assert f"-vm-test-{case.name} {case.model_path}" in seen["setup"]
    assert "Before=rigappliance.service" in seen["setup"]
    declared = load_config(case.settings_file, environ={})
    assert seen["swap"] == bool(declared.memory.swap)


def test_the_flake_finds_every_test() -> None:
    """The list of the flake's checks, from the folder's own content."""
    stubs = "inherit lib; modules.default = { }; pkgs.testers.runNixOSTest = _: null;"
    found = evaluate(f"lib.attrNames (import {ROOT}/nix/checks/vm.nix {{ {stubs} }})")
    assert found == [f"vm-{name}" for name in NAMES]


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_a_script_uses_only_what_both_backends_have(case: Case) -> None:
    tree = ast.parse(whole(case))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and is_of_machine(node.func)]
    used = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and is_of_machine(node)]
    assert used
    assert {node.attr for node in used} - SHARED.keys() == set()
    for call in calls:
        assert isinstance(call.func, ast.Attribute)
        given = {keyword.arg for keyword in call.keywords}
        assert given <= set(SHARED[call.func.attr]), f"line {call.lineno}: {call.func.attr} of the driver"
    assert free_names(tree) <= {"machine"}


def is_of_machine(node: ast.expr) -> bool:
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "machine"


def free_names(tree: ast.AST) -> set[str]:
    """Names that are read and that neither the script nor Python defines."""
    nodes = list(ast.walk(tree))
    known = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    known |= {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    known |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    known |= {node.name for node in nodes if isinstance(node, ast.ExceptHandler) and node.name}
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            known |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    return {node.id for node in nodes if isinstance(node, ast.Name)} - known - set(dir(builtins))


def test_the_guests_have_what_is_shared() -> None:
    for name, parameters in SHARED.items():
        found = list(inspect.signature(getattr(Machine, name)).parameters)
        assert [word for word in found if word not in NOT_SHARED_PARAMETERS] == list(parameters), name


def test_the_types_of_the_scripts_hold(tmp_path: Path) -> None:
    """As the driver of NixOS checks them, with the machine's own types and also inside of untyped functions."""
    head = "from rigappliance.vmtest import Machine\nmachine: Machine\n"
    for case in CASES:
        (tmp_path / f"{case.name}.py").write_text(head + whole(case), encoding="utf-8")
    shutil.copyfile(ROOT / "pyproject.toml", tmp_path / "pyproject.toml")
    argv = [sys.executable, "-m", "mypy", "--config-file=", "--check-untyped-defs", "--follow-imports=silent"]
    checked = subprocess.run(
        [*argv, f"--cache-dir={ROOT / '.mypy_cache' / 'scripts'}", *sorted(map(str, tmp_path.glob("*.py")))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_the_declaration_serves_both_backends(case: Case) -> None:
    """The same file is the node's settings here and the configuration of a guest there."""
    declared = load_config(case.settings_file, environ={})
    assert [finding.check for finding in check_declared(declared) if finding.severity == "fail"] == []
    # A profile may have paths that are relative there and absolute on NixOS.
    settings = case.settings
    stated = (settings["state_dir"], settings["model"]["path"], settings["engine"]["python"])
    assert all(Path(path).is_absolute() for path in stated)
    assert case.needs.memory >= 512 * 1024**2

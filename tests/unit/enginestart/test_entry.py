"""The entry ends in the stock engine's own function, whatever happens before."""

from __future__ import annotations

import importlib
import os
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from rigappliance.enginestart import entry, environment, imports


@pytest.fixture
def stock(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the stock engine's function was called with; vLLM itself is not here."""
    called: dict[str, Any] = {}

    def load(name: str) -> Any:
        return SimpleNamespace(main=lambda: called.update(module=name, argv=list(sys.argv)), __version__="0.32.0+cpu")

    monkeypatch.setattr(importlib, "import_module", load)
    monkeypatch.setattr(environment, "torch_directory", lambda: None)
    monkeypatch.setattr(environment, "before_imports", lambda environ, torch: {})
    monkeypatch.setattr(entry, "share", lambda device: called.update(device=device))
    return called


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["entry.py", *arguments])
    entry.main()


def test_serve_gets_its_arguments(monkeypatch: pytest.MonkeyPatch, stock: dict[str, Any]) -> None:
    run(monkeypatch, "serve", "/model", "--port", "1")
    assert stock["module"] == "vllm.entrypoints.cli.main"
    assert stock["argv"] == ["vllm", "serve", "/model", "--port", "1"]


def test_the_module_gets_its_arguments(monkeypatch: pytest.MonkeyPatch, stock: dict[str, Any]) -> None:
    run(monkeypatch, "-m", "vllm.entrypoints.openai.api_server", "--model", "/model")
    assert stock["module"] == "vllm.entrypoints.launchers.api_server.entry"
    assert stock["argv"][1:] == ["--model", "/model"]


def test_the_stock_engine_is_started_when_sharing_fails(
    monkeypatch: pytest.MonkeyPatch, stock: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(device: str) -> str | None:
        raise ImportError("no module named made_up")

    monkeypatch.setattr(entry, "share", broken)
    run(monkeypatch, "serve", "/model")
    assert stock["argv"][1] == "serve"
    told = "rigappliance start: as the stock engine does: ImportError: no module named made_up\n"
    assert capsys.readouterr().err == told


def test_a_reason_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, stock: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(entry, "share", lambda device: "threads are running: pump")
    run(monkeypatch, "serve", "/model")
    assert stock["argv"][1] == "serve"
    assert capsys.readouterr().err == "rigappliance start: as the stock engine does: threads are running: pump\n"


def test_variables_for_the_interpreter_mean_another_execution(
    monkeypatch: pytest.MonkeyPatch, stock: dict[str, Any]
) -> None:
    executed: list[Any] = []

    def execv(program: str, arguments: list[str]) -> None:
        executed.append((program, arguments, os.environ.get("MADE_UP")))
        raise SystemExit

    monkeypatch.setenv("MADE_UP", "before")
    monkeypatch.setattr(environment, "before_imports", lambda environ, torch: {"MADE_UP": "after"})
    monkeypatch.setattr(os, "execv", execv)
    monkeypatch.setattr(sys, "orig_argv", ["python", "-B", "entry.py", "serve"])
    with pytest.raises(SystemExit):
        run(monkeypatch, "serve")
    assert executed == [(sys.executable, [sys.executable, "-B", "entry.py", "serve"], "after")]
    assert stock == {}


@pytest.mark.parametrize(("version", "right"), [("0.32.0", True), ("0.32.0+cpu", True), ("0.32.1", False)])
def test_another_engine_is_not_touched(monkeypatch: pytest.MonkeyPatch, version: str, right: bool) -> None:
    monkeypatch.setattr(importlib, "import_module", lambda name: SimpleNamespace(__version__=version))
    assert (imports.version_mismatch() is None) is right

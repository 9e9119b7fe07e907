"""docs/performance.md is what the benches left, and says how they were measured."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
MACHINE = {"cpu": "Pentium", "cores": 2, "ram": "16.0 GiB", "kernel": "6.1", "python": "3.11.7", "engine": "vLLM"}


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    loader = SourceFileLoader("performance_tool", str(ROOT / "tools/performance"))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    return module


def page(tool: ModuleType, directory: Path, **content: Any) -> list[str]:
    """Lines of the page of one result."""
    result = {"bench": "time_to_ready", "date": "2026-01-02", "machine": MACHINE, **content}
    (directory / "time_to_ready.json").write_text(json.dumps(result))
    return str(tool.page(directory)).splitlines()


def test_the_page_is_current() -> None:
    done = subprocess.run(
        [sys.executable, "tools/performance", "--check"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_each_result_says_when_where_and_how(tool: ModuleType, tmp_path: Path) -> None:
    lines = page(tool, tmp_path, ratio=1.5)
    assert "## time to ready" in lines
    assert "2026-01-02, Pentium, 2 cores, 16.0 GiB, 6.1, Python 3.11.7, vLLM; `python -m bench.time_to_ready" in (
        "\n".join(lines)
    )
    assert any(line.startswith("Time to ready under `launch`") for line in lines)
    told = page(tool, tmp_path, ratio=1.5, command="python -m bench.time_to_ready --pairs 9")
    assert any(line.endswith("; `python -m bench.time_to_ready --pairs 9`") for line in told)


def test_several_measurements_show_their_spread(tool: ModuleType, tmp_path: Path) -> None:
    lines = page(tool, tmp_path, bare_s=[3.0, 1.0, 2.0], once_s=[4.0], peak_bytes=3 << 20, ok=True, parts={"a_s": 1.5})
    assert "| bare | 2 s (1 s to 3 s; 3) |" in lines
    assert "| once | 4 s (once) |" in lines
    assert "| peak | 3.00 MiB |" in lines
    assert "| ok | yes |" in lines
    assert "| parts, a | 1.5 s |" in lines


def test_stock_and_ours_stand_side_by_side(tool: ModuleType, tmp_path: Path) -> None:
    ways = {"stock": {"seconds": [4.0, 6.0], "pss_bytes": 2048}, "ours": {"seconds": [1.0, 2.0], "pss_bytes": 1024}}
    lines = page(tool, tmp_path, by_ranks={"8": ways}, cases=[{"case": "a|b", "error": 0.5}], runs=[{"n": 1}] * 13)
    assert "by ranks, 8:" in lines
    assert "|  | stock | ours |" in lines
    assert "| seconds | 5 s (4 s to 6 s; 2) | 1.5 s (1 s to 2 s; 2) |" in lines
    assert "| pss | 2.00 KiB | 1.00 KiB |" in lines
    assert "| a\\|b | 0.5 |" in lines
    assert "| runs | 13, in the file |" in lines


def test_rows_that_a_bench_printed_are_taken_as_they_are(tool: ModuleType, tmp_path: Path) -> None:
    lines = page(tool, tmp_path, bare_s=[1.0], rows=[["bare, seconds", "1.000 (1.000 to 1.000)"]])
    assert "| bare, seconds | 1.000 (1.000 to 1.000) |" in lines
    assert not any(line.startswith("| bare |") for line in lines)


@pytest.mark.parametrize("text", ["", "[]", '{"bench": "x"}', '{"bench": "x", "date": "d", "machine": 1}'])
def test_a_file_that_is_no_result_is_named(tool: ModuleType, tmp_path: Path, text: str) -> None:
    (tmp_path / "broken.json").write_text(text)
    with pytest.raises(SystemExit, match=r"broken\.json is no result"):
        tool.page(tmp_path)

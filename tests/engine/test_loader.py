"""Load format `sequential` beside the stock loader, in the engine's own classes; about 30 s, most of it imports."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from rigappliance.loader.provide import environment, provide

pytestmark = pytest.mark.engine

HERE = Path(__file__).parent
STOCK: dict[str, Any] = {"load_format": "auto"}
OURS: dict[str, Any] = {"load_format": "sequential"}
# The smallest window there is, which the checkpoint of the test is larger than; ranks that die or stop show soon.
TIGHT = OURS | {"model_loader_extra_config": {"window_bytes": 1 << 20, "stall_s": 2}, "cold": True}
SAME = [(kind, ranks) for kind in ("bf16", "tied", "int8") for ranks in (1, 2)]
FAULTS = {
    "truncate": {"kind": "truncate", "rank": 0, "tensor": 2},
    "rewrite": {"kind": "rewrite", "rank": 0, "tensor": 2},
    "kill": {"kind": "kill", "rank": 1, "tensor": 0},
    "stop": {"kind": "stop", "rank": 1, "tensor": 0},
}


def run(python: Path, script: str, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    command = ["nice", "-n", "5", str(python), str(HERE / script), *arguments]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def loaded(engine_python: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[Any, Any], str]:
    """Answers by case, and the log of all."""
    cases: dict[Any, dict[str, Any]] = {
        (kind, ranks): {"kind": kind, "ranks": ranks, "formats": [STOCK, OURS, TIGHT]} for kind, ranks in SAME
    }
    cases |= {name: {"kind": "bf16", "ranks": 2, "formats": [TIGHT], "fault": fault} for name, fault in FAULTS.items()}
    task = {"directory": str(tmp_path_factory.mktemp("loader")), "cases": list(cases.values())}
    done = run(engine_python, "loaded_parameters.py", text=json.dumps(task))
    assert done.returncode == 0, done.stderr[-4000:]
    return dict(zip(cases, json.loads(done.stdout), strict=True)), done.stderr


@pytest.mark.parametrize("case", SAME, ids=[f"{kind} TP {ranks}" for kind, ranks in SAME])
def test_parameters_are_those_of_the_stock_loader_bit_for_bit(case: Any, loaded: tuple[dict[Any, Any], str]) -> None:
    answers = loaded[0][case]
    assert len(answers) == case[1]
    for stock, ours, tight in answers:
        assert len(stock["digests"]) > 20 and stock["blank"] == 0
        assert ours["digests"] == stock["digests"]
        assert tight["digests"] == stock["digests"]
        # Nothing went another way than by reads: the mapping was not touched.
        assert ours["touched"] == tight["touched"] == 0
    if case[1] == 2:
        assert answers[0][0]["digests"] != answers[1][0]["digests"]


def test_ranks_shared_one_read_and_said_so(loaded: tuple[dict[Any, Any], str]) -> None:
    log = loaded[1]
    assert "reads for itself:" not in log and "falls back" not in log
    # One reader a load, however many ranks.
    assert log.count("rigappliance loader: finished after") == 2 * len(SAME) + len(FAULTS)


@pytest.mark.parametrize("fault", ["truncate", "rewrite"])
def test_a_shard_that_changes_while_loading_is_named(fault: str, loaded: tuple[dict[Any, Any], str]) -> None:
    (first,), (second,) = loaded[0][fault]
    shard = "rigappliance loader: model-00003-of-00003.safetensors: "
    said = {"truncate": "tensor ", "rewrite": "the file has changed since its header was read: found "}[fault]
    assert first["error"].startswith(f"{shard}{said}"), first
    assert ("the file ends at byte " in first["error"]) == (fault == "truncate")
    # The other rank may read the header before or after.
    assert second["error"].startswith(shard)


def test_a_killed_rank_ends_the_load_of_the_others_soon(loaded: tuple[dict[Any, Any], str]) -> None:
    (first,), killed = loaded[0]["kill"]
    assert killed is None
    assert "rigappliance loader: rank 1 (pid " in first["error"] and "is gone, at byte" in first["error"]
    assert first["seconds"] < 10


def test_a_stopped_rank_does_not_hold_the_others(loaded: tuple[dict[Any, Any], str]) -> None:
    sound = loaded[0]["bf16", 2]
    (first,), (second,) = loaded[0]["stop"]
    assert first["digests"] == sound[0][0]["digests"] and second["digests"] == sound[1][0]["digests"]
    assert "rigappliance loader: nothing moved for 2 s" in loaded[1]
    # Of all cases only this one stops a rank, and nothing wakes it before the other has everything.
    assert loaded[1].count("a rank stands still while another is through") == 1


def test_views_and_operations_of_all_kinds_see_the_right_bytes(engine_python: Path, tmp_path: Path) -> None:
    done = run(engine_python, "loader_operations.py", str(tmp_path))
    assert done.returncode == 0, done.stderr[-4000:]
    counts = json.loads(done.stdout)
    assert counts["compared"] > 500 and counts["touched"] > 20 and counts["kept"] > 5 and counts["alive"] == 0


def test_the_engine_finds_the_format_as_a_plug_in(engine_python: Path, tmp_path: Path) -> None:
    place = provide(tmp_path)
    script = (
        "from vllm.plugins import load_general_plugins; load_general_plugins(); load_general_plugins();"
        "from vllm.config.load import LoadConfig; from vllm.model_executor.model_loader import get_model_loader;"
        "loader = get_model_loader(LoadConfig(load_format='sequential', model_loader_extra_config={'stall_s': 7}));"
        "print(type(loader).__module__, loader.options.stall_s)"
    )
    found = {**os.environ, "VLLM_PLUGINS": "other"}
    command = ["nice", "-n", "5", str(engine_python), "-c", script]
    done = subprocess.run(
        command, env=found | environment(place, found), cwd="/", capture_output=True, text=True, timeout=120
    )
    assert done.stdout.splitlines()[-1:] == ["rigappliance_loader.plugin 7.0"], done.stderr[-3000:]

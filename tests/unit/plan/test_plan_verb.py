"""`rigappliance plan` as an operator calls it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from rigappliance.demo.checkpoint import TinyQwen2, tensors, write_checkpoint

INT8 = "Qwen/Qwen2.5-72B-Instruct-GPTQ-Int8"


def run(*arguments: str, directory: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rigappliance", "plan", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=directory)


def plan(*arguments: str, directory: Path) -> dict[str, Any]:
    done = run(*arguments, "--json", directory=directory)
    assert done.returncode in (0, 4), done.stderr
    content: dict[str, Any] = json.loads(done.stdout)
    assert (content["verdict"] == "fits") == (done.returncode == 0)
    return content


@pytest.fixture
def seed(tmp_path: Path) -> Path:
    """The rig's files. The engine of the measurements captured its graphs in pieces, level 1 of today's; and each of
    its processes had imported everything for itself."""
    (tmp_path / "higher.toml").write_text("[engine]\ngpu_memory_utilization = 0.9\n")
    (tmp_path / "seed.toml").write_text("[engine]\noptimization_level = 1\nstart = 'stock'\n")
    (tmp_path / "rig.toml").write_text("")
    return tmp_path


def test_the_seeds_rig_beside_what_was_measured_on_it(seed: Path) -> None:
    """28 min, 15 to 20 min, 4 to 5 tokens/s, about 9 GB a card; times within a quarter."""
    found = plan("-c", "seed.toml", "--machine", "rig", directory=seed)
    assert (found["verdict"], found["reasons"]) == ("fits", [])
    assert found["kv_tokens"] >= 4096 and found["requests"] == 1
    lines = {line["name"]: line["size_bytes"] for line in found["cards"][0]["ledger"]["lines"]}
    assert lines["weights"] / 1e9 == pytest.approx(9, rel=0.1)
    for phase in found["host"]["phases"]:
        assert 7.5e9 <= phase["ram_bytes"] <= 13e9 and 11e9 <= phase["swap_bytes"] <= 15e9
    layout = found["layout"]
    assert layout["load_s"] == pytest.approx(28 * 60, rel=0.25)
    assert 0.75 * 15 * 60 <= layout["silent_s"] <= 1.25 * 20 * 60
    assert 0.75 * 4 <= layout["decode_tokens_s"]["1"] <= 1.25 * 5


def test_the_rigs_profile_fits_as_it_is(seed: Path) -> None:
    found = plan("-c", "rig.toml", "--machine", "rig", directory=seed)
    assert (found["verdict"], found["reasons"]) == ("fits", [])
    assert found["kv_tokens"] >= 4096


def test_at_0_90_it_is_not_called_safe_and_the_line_is_named(seed: Path) -> None:
    found = plan("-c", "higher.toml", "--machine", "rig", directory=seed)
    assert found["verdict"] in ("unsafe", "does not fit")
    assert found["overflow"] and found["reasons"]
    assert any("engine.gpu_memory_utilization" in way["keys"] for way in found["ways"])


def test_a_cache_that_attention_cannot_read_is_refused_and_read_as_bfloat16_it_is_not(seed: Path) -> None:
    h200 = Path(__file__).resolve().parents[2] / "recordings/h200-facts.json"
    file = seed / "fp8.toml"
    declared = "[engine]\ntensor_parallel = 1\nkv_cache_dtype = 'fp8'\n[memory]\nswap = '128GiB'\n"
    asked = ("-c", "fp8.toml", "--machine", str(h200), "--model", "Qwen/Qwen2.5-32B-Instruct-GPTQ-Int8")
    file.write_text(declared)
    refused = plan(*asked, directory=seed)
    assert refused["verdict"] == "does not fit" and "bfloat16" in refused["reasons"][0]
    file.write_text(declared.replace("kv_cache", "dtype = 'bfloat16'\nkv_cache"))
    assert plan(*asked, directory=seed)["verdict"] == "fits"


def test_a_buyer_asks_for_other_cards_and_models(seed: Path) -> None:
    small = plan("--cards", "6 x RTX 3060", "--model", "Qwen/Qwen2.5-32B-Instruct-GPTQ-Int4", directory=seed)
    assert small["verdict"] == "fits" and "6 × " in small["machine"]
    # Six cards are no width of this model: four are used, and said to be the best.
    assert small["layout"]["tensor_parallel"] == 4
    pairs = plan("--cards", "6 x RTX 3060", "--model", "Qwen/Qwen2.5-0.5B-Instruct", directory=seed)
    assert pairs["verdict"] == "fits" and any("is the fastest layout" in note for note in pairs["notes"])
    old = plan("--cards", "8 x GTX 1080 Ti", "--model", "Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4", directory=seed)
    assert old["verdict"] == "does not fit" and "6.1" in old["reasons"][0]
    large = plan("--cards", "2x3060", "--model", INT8, directory=seed)
    assert large["verdict"] == "does not fit" and large["overflow"] == "weights"


def test_the_page_is_the_same_plan_and_the_picture_is_one(seed: Path) -> None:
    done = run("--machine", "rig", "--svg", "plan.svg", directory=seed)
    assert done.returncode == 0, done.stderr
    for words in ("fits", "weights", "kv-cache", "TP 8 × PP 1", "while loading", "gpu_memory_utilization from"):
        assert words in done.stdout, words
    assert not any(line != line.rstrip() for line in done.stdout.splitlines())
    assert ElementTree.parse(seed / "plan.svg").getroot().tag.endswith("svg")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--cards", "many"), 2, "--cards"),
        (("--cards", "8 x GTX 9999"), 3, "GTX 9999"),
        (("--cards", "0 x RTX 3060"), 2, "--cards"),
        (("--machine", "nowhere.json"), 3, "nowhere.json"),
        (("--model", "nobody/nothing"), 2, "nobody/nothing"),
        (("--machine", "rig", "--svg", "none/plan.svg"), 2, "none/plan.svg"),
    ],
)
def test_bad_input_is_one_clear_error(seed: Path, arguments: tuple[str, ...], code: int, words: str) -> None:
    done = run(*arguments, directory=seed)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    assert words in done.stderr


def test_a_checkpoint_of_ones_own_is_planned_from_its_headers(seed: Path) -> None:
    write_checkpoint(seed / "tiny")
    found = plan("--profile", "demo", "--model", "tiny", directory=seed)
    assert (found["verdict"], found["cards"]) == ("fits", [])
    assert found["checkpoint_bytes"] == sum(len(data) for _, _, data in tensors(TinyQwen2()))
    assert found["kv_tokens"] >= 1024

"""What is held against two cards when there are some: the plan for slow links, and who is called faster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.gpu import slowlinks, twocards
from bench.gpu.checkpoints import hollow, shape_with
from bench.gpu.running import parsed, verb, write_config

FACTS = Path(__file__).resolve().parents[2] / "recordings/h200-facts.json"


def figure(kind: str, count: int, rate: float) -> dict[str, Any]:
    return {"kind": kind, "concurrency": count, "tokens_s": [rate * 0.9, rate, rate * 1.2]}


def seen(tensor: float, pipeline: float) -> dict[str, dict[str, Any]]:
    kinds = [(kind, count) for kind in ("decode", "prefill") for count in twocards.CONCURRENCIES]
    rates = dict(zip(twocards.LAYOUTS, (tensor, pipeline), strict=True))
    return {name: {"figures": [figure(*each, rate) for each in kinds]} for name, rate in rates.items()}


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Of two of the cards that were recorded, on links of x1."""
    content = json.loads(FACTS.read_text())
    card = content["gpu"]["cards"][0]
    content["gpu"]["cards"] = [card, {**card, "index": 1, "uuid": "GPU-1", "bus_id": "00000000:00:07.0"}]
    facts = tmp_path / "facts.json"
    facts.write_text(json.dumps(content))
    slow = twocards.on_slow_links(facts, tmp_path / "slow.json")
    checkpoint = tmp_path / "checkpoint"
    hollow(shape_with("Qwen/Qwen2.5-7B-Instruct", num_hidden_layers=4), checkpoint)
    monkeypatch.setattr("bench.gpu.running.card_memory_bytes", lambda: card["memory_total_bytes"])
    config = write_config(
        tmp_path / "two.toml", checkpoint, tmp_path / "state", Path("/usr/bin/python3"), twocards.case_of(2, 1),
        cards=2, environment=slowlinks.ENVIRONMENT,
    )  # fmt: skip
    told = verb("plan", "-c", str(config), "--machine", str(slow), "--json")
    found: dict[str, Any] = parsed(told)
    assert found, told["err"]
    return found


def test_the_plan_is_of_the_slow_links_and_is_held_against_both_layouts(plan: dict[str, Any]) -> None:
    by_name = {f"TP {each['tensor_parallel']} × PP {each['pipeline_parallel']}": each for each in plan["layouts"]}
    tensor, pipeline = (by_name[name] for name in twocards.LAYOUTS)
    # Over such links every layer's sums cost more than the stages' one hop.
    assert tensor["prefill_tokens_s"] < pipeline["prefill_tokens_s"]
    agreed = twocards.compared(plan, seen(tensor=1.0, pipeline=2.0))
    assert [(each["kind"], each["concurrency"]) for each in agreed] == [
        (kind, count) for kind in ("decode", "prefill") for count in twocards.CONCURRENCIES
    ]
    assert all(each["same"] for each in agreed if each["kind"] == "prefill")
    assert not any(each["same"] for each in twocards.compared(plan, seen(2.0, 1.0)) if each["kind"] == "prefill")


def test_a_layout_that_never_served_agrees_with_nothing(plan: dict[str, Any]) -> None:
    one = seen(1.0, 2.0)
    one["TP 2 × PP 1"] = {"ready_s": None}
    assert not any(each["same"] for each in twocards.compared(plan, one))

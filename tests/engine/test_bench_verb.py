"""`rigappliance bench` with the engine's own client, on the real engine."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rigappliance.endpoint import Endpoint, request
from rigappliance.measure.workload import BEFORE
from tests.engine.launching import EngineHome, Launch

# About a minute on top of a start: for `make faults`.
pytestmark = [pytest.mark.engine, pytest.mark.fault]


def bench(config: Path, *options: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "rigappliance", "bench", "-c", str(config), "--quick", "--json", *options],
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    content: dict[str, Any] = json.loads(done.stdout)
    return content


def counter(home: EngineHome, name: str) -> float:
    """What the engine itself counted."""
    text = request(Endpoint("127.0.0.1", home.port), "GET", "/metrics", 10.0).body.decode()
    found = re.findall(rf"^vllm:{name}_total(?:{{.*}})? (\S+)$", text, re.M)
    assert len(found) == 1, name
    return float(found[0])


@pytest.fixture
def config(home: EngineHome) -> Path:
    """Without probes, which the engine would count too, and so short that a minute is enough."""
    path = home.config("bench.toml", probe_interval="10min")
    path.write_text(path.read_text().replace("[engine]\n", "[engine]\nmax_model_len = 64\n"))
    return path


@pytest.fixture
def serving(home: EngineHome, config: Path) -> Iterator[Launch]:
    one = Launch(home, config)
    one.wait_ready()
    yield one
    one.end()


def test_the_engine_counts_what_the_figures_say(home: EngineHome, config: Path, serving: Launch) -> None:
    names = ("prompt_tokens", "generation_tokens", "prefix_cache_hits")
    before = {name: counter(home, name) for name in names}
    content = bench(config, "--svg", str(home.root / "bench.svg"))
    counted = {name: counter(home, name) - before[name] for name in names}

    workload = content["workload"]
    assert workload["concurrencies"] == [1, 4, 8]
    requests = (4 + 4 + 8) * workload["rounds"]
    prompt, answer = workload["lengths"]["prompt"], workload["lengths"]["answer"]
    # Beside the rounds, a few requests that are only tried: 8 of 8 and 4 tokens, and one of 32 and 8.
    assert counted["generation_tokens"] == requests * (1 + answer) + 8 * 4 + 8
    # Random text may be a token longer or shorter when it is read back.
    assert counted["prompt_tokens"] == pytest.approx(requests * (prompt + BEFORE) + 8 * 8 + 32, rel=0.05)
    assert counted["prefix_cache_hits"] <= 0.05 * counted["prompt_tokens"]

    for figure in content["figures"]:
        assert len(figure["tokens_s"]) == workload["rounds"]
        assert 0 < min(figure["typical_s"]) <= max(figure["typical_s"]) <= figure["longest_s"]
        # One process of two cores, and it waits most of the time.
        assert 0 < figure["client_share"] < 0.6
        if figure["kind"] == "decode":
            # While it answers alone, a token takes what is between tokens; reading the prompt comes on top.
            most = figure["concurrency"] / min(figure["typical_s"])
            assert 0.2 * most < max(figure["tokens_s"]) < 1.3 * most
    assert [part["name"] for part in content["starts"]] == ["load", "silent", "start"]
    assert (home.root / "bench.svg").read_text().startswith("<svg")
    assert serving.stop() == 0

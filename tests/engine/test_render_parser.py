"""The real server's parser reads every rendered command as it was declared."""

from __future__ import annotations

import json
import math
import subprocess
from pathlib import Path
from typing import Any

import pytest

from rigappliance.config import OptionValue, RigConfig
from rigappliance.configfile import load_config
from rigappliance.plan import tuning
from rigappliance.plan.capture import recommended
from rigappliance.render.options import Option, long_name, table
from rigappliance.render.vllm import render
from tests.configs import configurations, drawable_options

pytestmark = pytest.mark.engine

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
GENERATED = 200
MODULE = ["python", "-m", "vllm.entrypoints.openai.api_server"]


@pytest.fixture(scope="module")
def configs() -> list[RigConfig]:
    profiles = [load_config(profile=name, environ={}) for name in ("rig", "demo")]
    return profiles + configurations(GENERATED)


@pytest.fixture(scope="module")
def answers(engine_python: Path, configs: list[RigConfig]) -> list[dict[str, Any]]:
    """What the parser made of each config's command, then of a command that says nothing but the model."""
    commands = [list(render(config).argv) for config in configs] + [[*MODULE, "--model", "/m"]]
    done = subprocess.run(
        [engine_python, HERE / "parse_argv.py"],
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result: list[dict[str, Any]] = json.loads(done.stdout)
    assert len(result) == len(commands)
    return result


def declared(config: RigConfig) -> dict[str, Any]:
    """What the namespace has to hold, written down apart from the renderer's own table."""
    engine, cuda = config.engine, config.engine.device == "cuda"
    values = {
        "model": str(config.model.path.absolute()),
        "served_model_name": [config.model.name],
        "trust_remote_code": config.model.trust_remote_code,
        "host": config.server.host,
        "port": config.server.port,
        "tensor_parallel_size": engine.tensor_parallel,
        "pipeline_parallel_size": engine.pipeline_parallel,
        "gpu_memory_utilization": engine.gpu_memory_utilization if cuda else 0.92,
        "kv_cache_memory_bytes": engine.kv_cache_memory,
        "kv_cache_dtype": engine.kv_cache_dtype,
        "max_model_len": engine.max_model_len,
        "max_num_seqs": engine.max_num_seqs,
        "max_num_batched_tokens": engine.max_num_batched_tokens,
        "dtype": engine.dtype,
        "quantization": engine.quantization,
        "load_format": engine.load_format,
        "optimization_level": "O2" if engine.optimization_level is None else str(engine.optimization_level),
        "enforce_eager": engine.enforce_eager,
        "shutdown_timeout": math.ceil(config.launch.drain_timeout),
        "disable_access_log_for_endpoints": None if config.server.log_probes else "/health,/metrics,/ping",
        "api_key": None,
    }
    if sizes := recommended(config):
        values["cudagraph_capture_sizes"] = list(sizes)
    if settings := tuning.recommended(config):
        values["compilation_config"] = settings
    if engine.entrypoint == "serve":
        values["model_tag"] = values["model"]
    return values


def expected_option(option: Option, value: OptionValue) -> Any:
    """How the parser stores one value of engine.options."""
    if option.kind == "json" and isinstance(value, str) and value[0] in "[{":
        return json.loads(value)
    if option.type == "count":
        return {"8k": 8000, "2K": 2048}.get(str(value), value)
    if option.name == "device-ids" and isinstance(value, str):
        return value.split(",")
    if option.name == "lora-modules" and isinstance(value, list):
        return [dict(zip(("name", "path"), str(module).split("="), strict=True)) for module in value]
    return value


def holds(actual: Any, expected: Any) -> bool:
    """Whether ``actual`` says what ``expected`` says; a parsed table may hold defaults besides."""
    if isinstance(expected, dict):
        return isinstance(actual, dict) and all(holds(actual.get(key), value) for key, value in expected.items())
    if isinstance(expected, list):
        return (
            isinstance(actual, list)
            and len(actual) == len(expected)
            and all(holds(a, e) for a, e in zip(actual, expected, strict=True))
        )
    return bool(actual == expected) and isinstance(actual, bool) == isinstance(expected, bool)


def test_accepts_every_rendered_command(configs: list[RigConfig], answers: list[dict[str, Any]]) -> None:
    refused = [
        (render(config).argv, answer["error"])
        for config, answer in zip(configs, answers, strict=False)
        if "error" in answer
    ]
    assert not refused


def test_finds_every_declared_value(configs: list[RigConfig], answers: list[dict[str, Any]]) -> None:
    baseline = answers[-1]["namespace"]
    for config, answer in zip(configs, answers, strict=False):
        namespace = answer["namespace"]
        wanted = declared(config)
        for key, value in config.engine.options.items():
            option = table().options[long_name(key)]
            wanted[option.dest] = expected_option(option, value)
        wrong = {dest: (namespace[dest], value) for dest, value in wanted.items() if not holds(namespace[dest], value)}
        assert not wrong, render(config).argv
        undeclared = {
            dest for dest in namespace if dest not in baseline or namespace[dest] != baseline[dest]
        } - wanted.keys()
        assert not undeclared, render(config).argv


def test_generated_configurations_reach_every_drawable_option(configs: list[RigConfig]) -> None:
    drawn = {long_name(key) for config in configs for key in config.engine.options}
    assert drawn == set(drawable_options())
    assert len(drawn) > 250


def test_generated_configurations_set_every_mapped_key(configs: list[RigConfig]) -> None:
    for section in ("model", "engine", "server"):
        fields = getattr(configs[0], section).__class__.model_fields
        assert {name for config in configs for name in getattr(config, section).model_fields_set} == set(fields)


def test_committed_table_is_what_the_engine_says(engine_python: Path, tmp_path: Path) -> None:
    written = tmp_path / "options.json"
    subprocess.run(
        [engine_python, ROOT / "tools" / "engine_options", written], check=True, capture_output=True, timeout=300
    )
    committed = ROOT / "rigappliance" / "render" / "options-0.32.0.json"
    assert written.read_text(encoding="utf-8") == committed.read_text(encoding="utf-8")

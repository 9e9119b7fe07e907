from __future__ import annotations

from typing import Any

import pytest

from rigappliance.config import RigConfig
from rigappliance.errors import ConfigError
from rigappliance.render.options import RESERVED, arguments, check_variable, long_name, table
from rigappliance.render.removed import REMOVED, REMOVED_ENVIRONMENT
from rigappliance.render.vllm import COVERED_OPTIONS, COVERED_VARIABLES, render


def rendered(options: dict[str, Any]) -> tuple[str, ...]:
    """What engine.options adds to the command line."""
    # Without graphs, so that what is chosen for them does not change with what is told about them.
    base = render(RigConfig.model_validate({"engine": {"enforce_eager": True}})).argv
    return render(RigConfig.model_validate({"engine": {"enforce_eager": True, "options": options}})).argv[len(base) :]


def refusal(options: dict[str, Any]) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        rendered(options)
    assert caught.value.found
    assert caught.value.expected
    assert caught.value.remedy
    return caught.value


def test_removed_options_are_not_options_of_the_pinned_engine() -> None:
    assert not REMOVED.keys() & (table().options.keys() | table().aliases.keys())


def test_removed_variables_are_not_variables_of_the_pinned_engine() -> None:
    assert not REMOVED_ENVIRONMENT.keys() & table().environment


def test_reserved_and_covered_options_exist() -> None:
    assert RESERVED.keys() - {"help"} <= table().options.keys()
    assert COVERED_OPTIONS.keys() <= table().options.keys()
    assert {name for name in COVERED_VARIABLES if name.startswith("VLLM_")} <= table().environment


@pytest.mark.parametrize("key", ["tensor-parallel-size", "tensor_parallel_size", "--tensor-parallel-size", "-tp", "tp"])
def test_spellings_name_the_same_option(key: str) -> None:
    assert long_name(key) == "tensor-parallel-size"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"seed": 7}, ("--seed", "7")),
        ({"--seed": 7}, ("--seed", "7")),
        ({"seed": -1}, ("--seed=-1",)),
        ({"watermark": 0.25}, ("--watermark", "0.25")),
        ({"watermark": 1}, ("--watermark", "1")),
        ({"disable_log_stats": True}, ("--disable-log-stats",)),
        ({"enable-prefix-caching": True}, ("--enable-prefix-caching",)),
        ({"enable-prefix-caching": False}, ("--no-enable-prefix-caching",)),
        ({"cudagraph-capture-sizes": [1, 2]}, ("--cudagraph-capture-sizes", "1", "2")),
        ({"middleware": ["a.b", "c.d"]}, ("--middleware", "a.b", "--middleware", "c.d")),
        ({"ignore-patterns": ["-x"]}, ("--ignore-patterns=-x",)),
        ({"hf-overrides": {"a": {"b": 1.5}}}, ("--hf-overrides", '{"a": {"b": 1.5}}')),
        ({"hf-overrides": "module.function"}, ("--hf-overrides", "module.function")),
        ({"compilation-config": '{"mode": 3}'}, ("--compilation-config", '{"mode": 3}')),
        ({"allowed-origins": ["*"]}, ("--allowed-origins", '["*"]')),
        ({"max-num-scheduled-tokens": "8k"}, ("--max-num-scheduled-tokens", "8k")),
        ({"moe-backend": "DEEP-GEMM"}, ("--moe-backend", "DEEP-GEMM")),
        ({"max-lora-rank": 16}, ("--max-lora-rank", "16")),
    ],
)
def test_values_become_arguments(options: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert rendered(options) == expected


@pytest.mark.parametrize(
    ("options", "found", "remedy"),
    [
        ({"swap-space": 1}, "no longer has", "memory.swap"),
        ({"num_scheduler_steps": 8}, "no longer has", "async-scheduling"),
        ({"disable-log-requests": True}, "no longer has", "enable-log-requests"),
        ({"O3": True}, "no longer has", "engine.optimization_level = 3"),
        ({"enable-prefix-cashing": True}, "does not know", "did you mean 'enable-prefix-caching'?"),
        ({"zzzzzz": 1}, "does not know", "remove it"),
        ({"max-model-len": 4096}, "which engine.max_model_len sets", "set engine.max_model_len instead"),
        ({"tp": 8}, "which engine.tensor_parallel sets", "set engine.tensor_parallel instead"),
        ({"device-memory-utilization": 0.5}, "which engine.gpu_memory_utilization sets", "instead"),
        ({"model": "x"}, "which model.path sets", "set model.path instead"),
        ({"api-key": ["secret"]}, "which server.api_key_file sets", "set server.api_key_file instead"),
        ({"shutdown_timeout": 1}, "which launch.drain_timeout sets", "instead"),
        ({"config": "x.yaml"}, "config", "declare the options here"),
        ({"uds": "/run/x"}, "uds", "server.host"),
        ({"no-enable-prefix-caching": True}, "no-enable", "write enable-prefix-caching = false"),
        ({"compilation-config.mode": 3}, "compilation-config.mode", "write compilation-config = { mode = ... }"),
        ({"seed": 1, "--seed": 2}, "has both 'seed' and '--seed'", "remove one"),
        ({"disable-log-stats": False}, "disable-log-stats is False", "remove"),
        ({"disable-log-stats": "yes"}, "disable-log-stats is 'yes'", "true"),
        ({"enable-prefix-caching": "true"}, "is 'true'", "true or false"),
        ({"enable-prefix-caching": 1}, "is 1", "true or false"),
        ({"seed": [1, 2]}, "is [1, 2]", "a single whole number"),
        ({"seed": "1"}, "is '1'", "a whole number"),
        ({"seed": 1.0}, "is 1.0", "a whole number"),
        ({"seed": True}, "is True", "a whole number"),
        ({"watermark": "much"}, "is 'much'", "a number"),
        ({"revision": 12}, "is 12", "a string"),
        ({"revision": {"a": 1}}, "is {'a': 1}", "a single string"),
        ({"tokenizer_mode": False}, "is False", "a string"),
        ({"runner": "poolin"}, "is 'poolin'", "did you mean 'pooling'?"),
        ({"max-lora-rank": 17}, "is 17", "did you mean"),
        ({"cudagraph-capture-sizes": 8}, "is 8", "= [...]"),
        ({"cudagraph-capture-sizes": []}, "is []", "= [...]"),
        ({"cudagraph-capture-sizes": ["1"]}, "is '1'", "a whole number"),
        ({"ignore-patterns": ["a", "-b"]}, "is ['a', '-b']", "dash"),
        ({"compilation-config": 3}, "is 3", "a table"),
        ({"compilation-config": "fast"}, "is 'fast'", "a table"),
        ({"compilation-config": {"x": float("nan")}}, "nan", "JSON"),
        ({"allowed-origins": {"a": 1}}, "is {'a': 1}", "a list"),
        ({"served-model-name": ["x"]}, "which model.name sets", "set model.name instead"),
        ({"revision": "a\0b"}, "is declared", "change it"),
    ],
)
def test_refusals_name_what_to_do(options: dict[str, Any], found: str, remedy: str) -> None:
    error = refusal(options)
    assert found in error.found
    assert remedy in error.remedy


def test_every_option_of_the_engine_is_either_settable_or_refused_with_a_reason() -> None:
    samples: dict[str, Any] = {"flag": True, "boolean": True, "json": {}, "list": ["x"], "value": "x"}
    for name, option in table().options.items():
        if name in COVERED_OPTIONS or name in RESERVED:
            refusal({name: samples[option.kind]})
        elif not option.choices and option.type == "str" and option.shape != "array":
            assert arguments(option, samples[option.kind], name)[0] == f"--{name}"


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("VLLM_USE_V1", "V1 is the only engine"),
        ("VLLM_ATTENTION_BACKEND", "attention-backend"),
        ("VLLM_LOGING_LEVEL", "did you mean 'VLLM_LOGGING_LEVEL'?"),
    ],
)
def test_variables_that_the_engine_would_not_read_are_refused(name: str, remedy: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_variable(name)
    assert remedy in caught.value.remedy


def test_variables_of_others_are_not_judged() -> None:
    check_variable("NCCL_P2P_DISABLE")
    check_variable("VLLM_LOGGING_LEVEL")

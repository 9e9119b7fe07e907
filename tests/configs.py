"""Random valid configurations, the same ones in every run."""

from __future__ import annotations

import random
from typing import Any

from rigappliance.config import RigConfig
from rigappliance.render.options import RESERVED, Option, table
from rigappliance.render.vllm import COVERED_OPTIONS

# Options that need another one, a file or a plug-in: the parser's own validation would refuse a lone one.
LONERS = {
    "data-parallel-multi-port-external-lb",
    "enable-auto-tool-choice",
    "enable-log-outputs",
    "enable-per-request-metrics",
    "grpc-port",
    "log-config-file",
    "logging-config",
}

# Values of the options whose syntax goes beyond their kind.
SAMPLES: dict[str, list[Any]] = {
    "additional-config": [{"text": 'it\'s "quoted" ✓', "list": [1, "two"]}],
    "allowed-headers": [["*"], ["X-One", "X-Two"]],
    "allowed-methods": [["GET"], '["GET", "POST"]'],
    "allowed-origins": [["*"], []],
    "attention-config": [{"flash_attn_version": 2}, {"use_trtllm_attention": False}],
    "chat-template": ["{{ messages }}"],
    "compilation-config": [{"cudagraph_mode": "PIECEWISE"}, {"cudagraph_capture_sizes": [1, 2, 4]}],
    "custom-histogram-buckets": [{"latency": [0.1, 1.0]}],
    "default-chat-template-kwargs": [{"enable_thinking": False}],
    "default-mm-loras": [{"image": "/lora"}],
    "device-ids": ["a,b"],
    "eplb-config": [{"window_size": 100}],
    "hf-overrides": [{"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}],
    "kernel-config": [{"enable_flashinfer_autotune": False}],
    "kv-events-config": [{"enable_kv_cache_events": True}],
    "limit-mm-per-prompt": [{"image": 0}],
    "lora-modules": [["one=/lora/one"], ["one=/lora/one", "two=/lora/two"]],
    "media-io-kwargs": [{"video": {"num_frames": 8}}],
    "mm-processor-device": ["cpu"],
    "mm-processor-kwargs": [{"num_crops": 4}],
    "model-class-overrides": [{"Qwen2ForCausalLM": "package.module:Class"}],
    "model-loader-extra-config": [{"enable_multithread_load": True, "num_threads": 2}],
    "override-generation-config": [{"temperature": 0.5}, '{"top_p": 0.9}'],
    "pt-load-map-location": ["cpu", {"cuda:1": "cuda:0"}],
    "speculative-config": [{"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_max": 4}],
    "structured-outputs-config": [{"backend": "xgrammar"}],
}
NAMES = ["Qwen/Qwen2.5-72B-Instruct-GPTQ-Int8", "tiny", "-O3", "--config", "two words", "it's ✓", "-0.5", "a.b"]
PATHS = ["/models/plain", "/models/with space", "/models/q'uote\"s", "/modèles/✓", "/models/--tp"]
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "VLLM_LOGGING_LEVEL": "DEBUG", "NCCL_P2P_DISABLE": "1", "SPACED": "a 'b' \"c\""}
TEXTS = ["word", "two words", "-dash", "--two-dashes", "-0.5", "a=b", "ünï", "x.y", "-O2"]


def drawable_options() -> list[str]:
    """Long names of the options that :func:`trees` draws from."""
    return [
        name
        for name, option in table().options.items()
        if name not in COVERED_OPTIONS
        and name not in RESERVED
        and name not in LONERS
        and (option.kind != "json" or name in SAMPLES)
    ]


def option_value(option: Option, rng: random.Random) -> Any:
    if option.name in SAMPLES:
        return rng.choice(SAMPLES[option.name])
    if option.kind == "flag":
        return True
    if option.kind == "boolean":
        return rng.choice([True, False])
    if option.kind == "list":
        count = rng.randint(1, 3)
        return [scalar(option, rng, dashes=count == 1 or option.repeat) for _ in range(count)]
    return scalar(option, rng)


def scalar(option: Option, rng: random.Random, dashes: bool = True) -> Any:
    if option.choices:
        return rng.choice(option.choices)
    if option.type == "int":
        return rng.randint(1, 4096)
    if option.type == "count":
        return rng.choice([rng.randint(1, 4096), "8k", "2K"])
    if option.type == "float":
        return rng.choice([rng.randint(0, 8), round(rng.random() * 100, 3), 1e-06, -0.5])
    return rng.choice([text for text in TEXTS if dashes or not text.startswith("-")])


def spelled(name: str, rng: random.Random) -> str:
    """A long name in one of the spellings that the configuration accepts."""
    return rng.choice([name, name.replace("-", "_"), f"--{name}"])


def some(rng: random.Random, **fields: Any) -> dict[str, Any]:
    """Each field with a probability of a half, so that defaults are met too."""
    return {key: value for key, value in fields.items() if rng.random() < 0.5}


def tree(rng: random.Random, options: list[str]) -> dict[str, Any]:
    """A configuration as a file would hold it, with these ``options``."""
    tensor, pipeline = rng.choice([1, 2, 4, 8]), rng.choice([1, 2, 3])
    return {
        **some(rng, state_dir=rng.choice(["/var/lib/rigappliance", "/srv/state dir"])),
        "model": some(
            rng,
            path=rng.choice(PATHS),
            name=rng.choice(NAMES),
            trust_remote_code=True,
            repository=rng.choice(["Qwen/Qwen2.5-72B-Instruct-GPTQ-Int8", "some.body/a_model-2"]),
            revision=rng.choice(["main", "refs/pr/1", "0123abcd"]),
        ),
        "engine": {
            "entrypoint": rng.choice(["serve", "module"]),
            "device": rng.choice(["cuda", "cpu"]),
            "start": rng.choice(["shared", "stock"]),
            "tensor_parallel": tensor,
            "pipeline_parallel": pipeline,
            **some(
                rng,
                python="/opt/engine dir/bin/python",
                gpu_memory_utilization=rng.choice([0.5, 0.85, 0.123, 1.0]),
                max_model_len=rng.randint(1, 131072),
                max_num_seqs=rng.randint(1, 512),
                max_num_batched_tokens=rng.randint(1, 65536),
                dtype=rng.choice(["auto", "float16", "bfloat16", "float32"]),
                quantization=rng.choice(["gptq_marlin", "fp8"]),
                kv_cache_dtype=rng.choice(["auto", "fp8", "bfloat16"]),
                kv_cache_memory=rng.choice(["256MiB", "1GB", "1.5GiB"]),
                load_format=rng.choice(["auto", "dummy", "safetensors", "sequential"]),
                optimization_level=rng.randint(0, 3),
                enforce_eager=True,
                swap_space="4GiB",
                environment=some(rng, **ENVIRONMENT),
                offline=False,
                step_timeout=rng.choice(["1500ms", "90s", "2h"]),
            ),
            "options": {spelled(name, rng): option_value(table().options[name], rng) for name in options},
        },
        "server": some(
            rng,
            host=rng.choice(["0.0.0.0", "::1"]),
            port=rng.randint(1, 65535),
            api_key_file="/etc/keys/api key",
            log_probes=True,
        ),
        "hardware": {"cards": tensor * pipeline},
        "launch": some(rng, drain_timeout=rng.choice(["0s", "1500ms", "5min"])),
    }


def configurations(count: int, seed: int = 32, options_each: int = 8) -> list[RigConfig]:
    """``count`` configurations; over all of them every drawable option comes up before any comes up twice."""
    rng = random.Random(seed)
    deck: list[str] = []
    result = []
    for _ in range(count):
        if len(deck) < options_each:
            fresh = [name for name in drawable_options() if name not in deck]
            rng.shuffle(fresh)
            deck = deck + fresh
        hand, deck = deck[:options_each], deck[options_each:]
        result.append(RigConfig.model_validate(tree(rng, hand)))
    return result

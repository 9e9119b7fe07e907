"""The real engine's own count of cached tokens, for layers built on the meta device and bytes that are given.

Run by the engine's interpreter: a JSON list of cases on standard input, the tokens of each on standard output. This
is the code that logs `KV cache size`, with everything before it that measures memory replaced by a number.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from meta_weights import OUTPUT, Group, choose_marlin  # type: ignore[import-not-found]

import torch  # type: ignore[import-not-found] # isort: skip
from vllm.config import CacheConfig, ModelConfig, VllmConfig, set_current_vllm_config
from vllm.distributed import parallel_state
from vllm.model_executor.model_loader.utils import initialize_model
from vllm.utils.torch_utils import set_default_torch_dtype
from vllm.v1.attention.backends import utils as backends
from vllm.v1.core import kv_cache_utils


def specs(case: dict[str, Any], stage: int) -> tuple[VllmConfig, dict[str, Any], str]:
    """The configuration, what each layer of one stage wants to cache, and the layout that its backend prefers."""
    parallel_state._TP = parallel_state._EP = Group(case["tensor_parallel"], 0)
    parallel_state._PP = Group(case["pipeline_parallel"], stage)
    parallel_state._WORLD = parallel_state._DCP = parallel_state._PCP = parallel_state._DP = Group(1, 0)
    model = ModelConfig(
        model=case["directory"], tokenizer=case["directory"], skip_tokenizer_init=True, dtype=case["dtype"],
        max_model_len=case["max_model_len"],
    )  # fmt: skip
    block = {"block_size": case["block_size"]} if case["block_size"] else {}
    config = VllmConfig(model_config=model, cache_config=CacheConfig(cache_dtype=case["kv_cache_dtype"], **block))
    with set_default_torch_dtype(model.dtype), torch.device("meta"), set_current_vllm_config(config):
        initialize_model(config)
        registered = config.compilation_config.static_forward_context
        layers = {name: layer for name, layer in registered.items() if hasattr(layer, "get_kv_cache_spec")}
        wanted = {name: layer.get_kv_cache_spec(config) for name, layer in layers.items()}
        layout = backends.get_supported_kv_cache_layouts({layer.get_attn_backend() for layer in layers.values()})[
            0
        ].name
        return config, wanted, layout


def tokens(case: dict[str, Any]) -> dict[str, Any]:
    try:
        made = [specs(case, stage) for stage in range(case["pipeline_parallel"])]
        config = made[-1][0]
        backends.resolve_kv_cache_layout(config, [[made[-1][2]]])
        caches = kv_cache_utils.get_kv_cache_configs(config, [spec for _, spec, _ in made], case["available_bytes"])
        return {"tokens": kv_cache_utils.get_kv_cache_capacity(config, caches[0])[0], "blocks": caches[0].num_blocks}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    choose_marlin()
    os.write(OUTPUT, json.dumps([tokens(case) for case in json.load(sys.stdin)]).encode())

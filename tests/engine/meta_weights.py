"""The real engine's model classes on torch's meta device: what one rank would register, without its memory.

Run by the engine's own interpreter, in a process of its own. Standard input: a JSON list of cases, each the directory
of a checkpoint (config.json and headers), the layout and the stage. Standard output: for each its parameters and
buffers, name to bytes, as they are created and, for Marlin, as they are after repacking.

What is not real: the process groups (sizes and ranks alone), and the choice of the kernel, which this machine's
platform would make for a CPU. Both decide nothing of what a class registers but the sizes that are asked for here.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from typing import Any

os.environ.update(VLLM_LOGGING_LEVEL="ERROR", HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", CUDA_VISIBLE_DEVICES="")
OUTPUT = os.dup(1)
# Whatever the libraries print goes to the log, not between the lines of JSON.
os.dup2(2, 1)

import torch  # type: ignore[import-not-found] # noqa: E402
import vllm.model_executor.kernels.linear.mixed_precision.marlin as marlin_kernel  # noqa: E402
import vllm.model_executor.layers.quantization.auto_awq as auto_awq  # noqa: E402
import vllm.model_executor.layers.quantization.auto_gptq as auto_gptq  # noqa: E402
from vllm.config import ModelConfig, VllmConfig, set_current_vllm_config  # noqa: E402
from vllm.distributed import parallel_state  # noqa: E402
from vllm.model_executor.layers.quantization.compressed_tensors.schemes import (  # noqa: E402
    compressed_tensors_wNa16 as packed,
)
from vllm.model_executor.model_loader.utils import initialize_model  # noqa: E402
from vllm.utils.torch_utils import set_default_torch_dtype  # noqa: E402


class Group:
    """As much of a process group as the classes ask: its size and this process's place in it."""

    def __init__(self, size: int, rank: int) -> None:
        self.world_size = size
        self.rank = self.rank_in_group = rank
        self.ranks = list(range(size))
        self.first_rank, self.last_rank = 0, size - 1
        self.is_first_rank, self.is_last_rank = rank == 0, rank == size - 1
        self.device = torch.device("cpu")
        self.unique_name = "meta"
        self.device_group = self.cpu_group = self

    def size(self) -> int:
        return self.world_size


def choose_marlin() -> None:
    """What an NVIDIA card of capability 7.5 or more gets; its code for meta tensors repacks shapes alone."""
    for module in (auto_gptq, auto_awq, packed):
        module.choose_mp_linear_kernel = lambda config, **_: marlin_kernel.MarlinLinearKernel
    auto_gptq.verify_marlin_supported = lambda *_, **__: None
    marlin_kernel.ops = RepackedShapes


def choose_fp8() -> None:
    """Kernels for it on a CPU want tiles (AMX), which most machines lack; classes are made, and nothing is computed."""
    torch.cpu._is_amx_tile_supported = lambda: True


class RepackedShapes:
    """The shape that csrc/quantization/marlin/gptq_marlin_repack.cu returns: tiles of 16 by 16 values."""

    @staticmethod
    def gptq_marlin_repack(weight: torch.Tensor, size_k: int, size_n: int, num_bits: int, **_: Any) -> torch.Tensor:
        return torch.empty(size_k // 16, size_n * 16 // (32 // num_bits), dtype=torch.int32, device=weight.device)


def build(case: dict[str, Any]) -> torch.nn.Module:
    tensor, pipeline = Group(case["tensor_parallel"], 0), Group(case["pipeline_parallel"], case["stage"])
    alone = Group(1, 0)
    parallel_state._TP, parallel_state._PP = tensor, pipeline
    parallel_state._WORLD = parallel_state._DCP = parallel_state._PCP = parallel_state._DP = alone
    parallel_state._EP = tensor
    os.environ.pop("VLLM_PP_LAYER_PARTITION", None)
    if case.get("partition"):
        os.environ["VLLM_PP_LAYER_PARTITION"] = case["partition"]
    directory = case["directory"]
    model = ModelConfig(
        model=directory, tokenizer=directory, skip_tokenizer_init=True, max_model_len=2048, dtype=case["dtype"]
    )
    config = VllmConfig(model_config=model)
    with set_default_torch_dtype(model.dtype), torch.device("meta"), set_current_vllm_config(config):
        return initialize_model(config)


def held(model: torch.nn.Module) -> dict[str, int]:
    """Parameters and buffers, each once, under its first name."""
    seen: set[int] = set()
    found: dict[str, int] = {}
    for named in (model.named_parameters, model.named_buffers):
        for name, tensor in named(remove_duplicate=False):
            if id(tensor) not in seen:
                seen.add(id(tensor))
                found[name] = tensor.numel() * tensor.element_size()
    return found


def repacked(model: torch.nn.Module) -> dict[str, int] | None:
    """The same after Marlin; ``None`` where the repacking computes with values, which meta tensors do not have."""
    for module in model.modules():
        method = getattr(module, "quant_method", None)
        if method is None or not hasattr(module, "qweight"):
            continue
        if not isinstance(method, auto_gptq.AutoGPTQLinearMethod):
            return None
        method.process_weights_after_loading(module)
    return held(model)


def answer(case: dict[str, Any]) -> dict[str, Any]:
    try:
        model = build(case)
        return {"created": held(model), "loaded": repacked(model)}
    except Exception as error:
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    choose_marlin()
    choose_fp8()
    os.write(OUTPUT, json.dumps([answer(case) for case in json.load(sys.stdin)]).encode())

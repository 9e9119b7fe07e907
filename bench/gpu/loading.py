"""A checkpoint read onto the card by the stock loader and by ours, in turn: seconds, and a digest of every parameter.

    ENGINE/bin/python -m bench.gpu.loading CHECKPOINT [--turns 3]

One line of JSON a load. Digests are taken after the kernels have repacked the weights, of what they will compute with.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from rigappliance.loader import register

FORMATS = ("auto", "sequential")


def digest(model: Any, torch: Any) -> str:
    """Over names, types, shapes and bytes of all parameters and buffers."""
    total = hashlib.sha256()
    for name, tensor in sorted((*model.named_parameters(), *model.named_buffers())):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.data.contiguous().view(-1).view(torch.uint8).cpu().numpy().data)
    return total.hexdigest()


def load(checkpoint: str, load_format: str, torch: Any) -> dict[str, Any]:
    arguments: Any = import_module("vllm.engine.arg_utils")
    settings: Any = import_module("vllm.config")
    parallel: Any = import_module("vllm.distributed.parallel_state")
    loaders: Any = import_module("vllm.model_executor.model_loader")
    config = arguments.EngineArgs(
        model=checkpoint, load_format=load_format, enforce_eager=True, max_model_len=1024, use_tqdm_on_load=False
    ).create_engine_config()
    with settings.set_current_vllm_config(config):
        if not parallel.model_parallel_is_initialized():
            parallel.init_distributed_environment(1, 0, "tcp://127.0.0.1:29611", 0)
            parallel.ensure_model_parallel_initialized(1, 1)
        started = time.monotonic()
        loader = loaders.get_model_loader(config.load_config)
        model = loader.load_model(vllm_config=config, model_config=config.model_config)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds = time.monotonic() - started
    told = {
        "format": load_format, "loader": type(loader).__name__, "seconds": round(seconds, 3),
        "parameters": sum(1 for _ in model.named_parameters()), "digest": digest(model, torch),
    }  # fmt: skip
    del model, loader
    gc.collect()
    return told


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("checkpoint", type=Path)
    arguments.add_argument("--turns", type=int, default=3)
    arguments.add_argument("--wait", action="store_true", help="import, then wait for a line on standard input")
    chosen = arguments.parse_args()
    torch: Any = import_module("torch")
    register()
    import_module("vllm.model_executor.model_loader")
    if chosen.wait:
        sys.stdin.readline()
    for turn in range(chosen.turns):
        # Each goes first in its turn as often as the other.
        for load_format in FORMATS if turn % 2 == 0 else FORMATS[::-1]:
            print(json.dumps({"turn": turn, **load(str(chosen.checkpoint), load_format, torch)}), flush=True)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Digests of a model's parameters after each load format, in the engine's own classes and process groups.

Run by the engine's interpreter: standard input is a JSON object (see :func:`main`), standard output one too. One parent
imports the engine and forks the ranks. Bytes are compared before a GPTQ kernel repacks them, since the CPU has none for
8 bits; Marlin's class decides what is registered, as it does on a card.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
os.environ.update(OMP_NUM_THREADS="1", VLLM_PLUGINS="", TORCHDYNAMO_DISABLE="1")
from tests.engine.meta_weights import OUTPUT, Group, choose_marlin

import torch  # type: ignore[import-not-found]  # isort: skip
from safetensors.torch import save_file  # type: ignore[import-not-found]
from vllm.config import ModelConfig, ParallelConfig, VllmConfig, set_current_vllm_config
from vllm.config.load import LoadConfig
from vllm.distributed import parallel_state
from vllm.model_executor.model_loader import get_model_loader
from vllm.model_executor.model_loader.utils import initialize_model
from vllm.utils.torch_utils import set_default_torch_dtype

from rigappliance.loader import cached, held, plugin, reader, register
from rigappliance.loader import load as load_module
from rigappliance.loader.errors import LoadError
from rigappliance.loader.reader import Reader

plugin.logger.addHandler(logging.StreamHandler())
plugin.logger.setLevel(logging.INFO)
plugin.logger.propagate = False

HIDDEN, INTERMEDIATE, LAYERS, HEADS, KV_HEADS, VOCABULARY = 256, 512, 2, 4, 2, 500
# What no loader leaves standing where it should have written.
BLANK = 0xA5


def write_checkpoint(directory: Path, quantised: bool, tied: bool = False) -> None:
    """A Qwen2 of random bytes in three shards, whose tensors lie in another order than their names'."""
    directory.mkdir(parents=True)
    config: dict[str, Any] = {
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_act": "silu",
        "torch_dtype": "float16" if quantised else "bfloat16", "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS, "max_position_embeddings": 2048, "rms_norm_eps": 1e-06,
        "rope_theta": 1e6, "tie_word_embeddings": tied, "vocab_size": VOCABULARY, "bos_token_id": 0, "eos_token_id": 1,
    }  # fmt: skip
    if quantised:
        config["quantization_config"] = {
            "quant_method": "gptq", "bits": 8, "group_size": 128, "desc_act": False, "sym": True,
        }  # fmt: skip
    (directory / "config.json").write_text(json.dumps(config))
    generator = torch.Generator().manual_seed(1)
    plain = torch.float16 if quantised else torch.bfloat16

    def values(*shape: int) -> Any:
        return torch.randn(shape, generator=generator).to(plain)

    def words(*shape: int) -> Any:
        return torch.randint(-(2**31), 2**31 - 1, shape, generator=generator, dtype=torch.int32)

    tensors = {"model.embed_tokens.weight": values(VOCABULARY, HIDDEN), "model.norm.weight": values(HIDDEN)}
    if not tied:
        tensors["lm_head.weight"] = values(VOCABULARY, HIDDEN)
    kv = HIDDEN // HEADS * KV_HEADS
    matrices = {
        "self_attn.q_proj": (HIDDEN, HIDDEN), "self_attn.k_proj": (HIDDEN, kv), "self_attn.v_proj": (HIDDEN, kv),
        "self_attn.o_proj": (HIDDEN, HIDDEN), "mlp.gate_proj": (HIDDEN, INTERMEDIATE),
        "mlp.up_proj": (HIDDEN, INTERMEDIATE), "mlp.down_proj": (INTERMEDIATE, HIDDEN),
    }  # fmt: skip
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}"
        for name in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{prefix}.{name}.weight"] = values(HIDDEN)
        for name, (size_in, size_out) in matrices.items():
            if quantised:
                tensors[f"{prefix}.{name}.qweight"] = words(size_in // 4, size_out)
                tensors[f"{prefix}.{name}.qzeros"] = words(size_in // 128, size_out // 4)
                tensors[f"{prefix}.{name}.scales"] = values(size_in // 128, size_out)
                tensors[f"{prefix}.{name}.g_idx"] = torch.arange(size_in, dtype=torch.int32) // 128
            else:
                tensors[f"{prefix}.{name}.weight"] = values(size_out, size_in)
            if name in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"):
                tensors[f"{prefix}.{name}.bias"] = values(size_out)
    names = sorted(tensors, key=lambda name: hashlib.sha256(name.encode()).digest())
    weight_map: dict[str, str] = {}
    for number in range(3):
        file = f"model-{number + 1:05d}-of-00003.safetensors"
        some = {name: tensors[name] for name in names[number::3]}
        save_file(some, directory / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(some, file)
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    # A second copy of the weights, as some publishers add: the index says which one counts.
    save_file({"model.norm.weight": values(HIDDEN)}, directory / "copy.safetensors")


def digests(model: Any) -> dict[str, str]:
    found = {}
    for name, parameter in (*model.named_parameters(), *model.named_buffers()):
        content = parameter.data.contiguous().view(-1).view(torch.uint8).numpy().tobytes()
        found[name] = hashlib.sha256(content).hexdigest()
    return found


def blanked(model: Any) -> int:
    """How many bytes of the parameters are still what they were filled with, beyond what chance gives."""
    return sum(
        int((parameter.data.contiguous().view(-1).view(torch.uint8)[-64:] == BLANK).all())
        for parameter in model.parameters()
        if parameter.numel() * parameter.element_size() >= 64
    )


def load(checkpoint: str, ranks: int, options: dict[str, Any]) -> dict[str, Any]:
    """``cold`` among the options: as if nothing of the checkpoint, which has just been written, were in memory."""
    options = dict(options)
    looks = (lambda *_: False) if options.pop("cold", False) else cached.all_cached
    vars(held)["all_cached"] = vars(reader)["all_cached"] = looks
    model_config = ModelConfig(model=checkpoint, tokenizer=checkpoint, skip_tokenizer_init=True, max_model_len=1024)
    executor = "mp" if ranks > 1 else "uni"
    parallel = ParallelConfig(tensor_parallel_size=ranks, distributed_executor_backend=executor)
    config = VllmConfig(model_config=model_config, parallel_config=parallel)
    config.load_config = LoadConfig(use_tqdm_on_load=False, **options)
    with set_current_vllm_config(config), set_default_torch_dtype(model_config.dtype):
        model = initialize_model(config)
        for parameter in model.parameters():
            parameter.data.view(-1).view(torch.uint8).fill_(BLANK)
        loader = get_model_loader(config.load_config)
        started_s = time.monotonic()
        try:
            loader.load_weights(model, model_config)
        except LoadError as error:
            return {"error": str(error), "seconds": time.monotonic() - started_s}
        return {
            "digests": digests(model), "blank": blanked(model), "touched": getattr(loader, "touched", None),
            "seconds": time.monotonic() - started_s,
        }  # fmt: skip


def damage(fault: dict[str, Any], rank: int, checkpoint: str) -> None:
    """Do to this load, at the tensor of that number, what ``fault`` says; only the rank that it names does."""
    if fault["rank"] != rank:
        return
    last = Path(checkpoint) / "model-00003-of-00003.safetensors"
    taken = load_module.weights

    def weights(*arguments: Any) -> Iterator[Any]:
        for number, pair in enumerate(taken(*arguments)):
            if number == fault["tensor"]:
                match fault["kind"]:
                    case "truncate":
                        os.truncate(last, last.stat().st_size - 100_000)
                    case "rewrite":
                        last.write_bytes(last.read_bytes())
                    case "kill":
                        os.kill(os.getpid(), signal.SIGKILL)
                    case "stop":
                        os.kill(os.getpid(), signal.SIGSTOP)
            yield pair

    vars(plugin)["weights"] = weights


def be_rank(case: dict[str, Any], rank: int, meeting: str) -> list[Any]:
    """The process group is real; what the classes ask of it is sizes and ranks, and no collective."""
    ranks = case["ranks"]
    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", world_size=ranks, rank=rank)
    tensor, alone = Group(ranks, rank), Group(1, 0)
    parallel_state._TP = parallel_state._EP = parallel_state._WORLD = tensor
    parallel_state._PP = parallel_state._DCP = parallel_state._PCP = parallel_state._DP = alone
    if "fault" in case:
        damage(case["fault"], rank, case["checkpoint"])
    answer = [load(case["checkpoint"], ranks, options) for options in case["formats"]]
    # They report when all ranks are through.
    for thread in threading.enumerate():
        if isinstance(thread, Reader):
            thread.join(10)
    return answer


def run_case(case: dict[str, Any]) -> list[Any]:
    """One list a rank, with an answer for each format; ``None`` for a rank that did not come to one."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="rigload-") as directory:
        children = []
        for rank in range(case["ranks"]):
            place = Path(directory) / f"answer-{rank}"
            child = os.fork()
            if child == 0:
                try:
                    place.write_text(json.dumps(be_rank(case, rank, f"{directory}/meeting")))
                except BaseException:
                    traceback.print_exc()
                finally:
                    os._exit(0)
            children.append((child, place))
        for child, _ in children:
            os.waitpid(child, 0)
            # One that stopped itself goes on once the first one is through.
            for other, _ in children:
                with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                    if Path(f"/proc/{other}/stat").read_text().rpartition(")")[2].split()[0] == "T":
                        print("a rank stands still while another is through", file=sys.stderr, flush=True)
                    os.kill(other, signal.SIGCONT)
        return [json.loads(place.read_text()) if place.exists() else None for _, place in children]


def main() -> None:
    """``{"directory": …, "cases": [{"kind": …, "ranks": …, "formats": […], "fault": …}]}``; answers case by rank."""
    task = json.load(sys.stdin)
    choose_marlin()
    register()
    answers = []
    for number, case in enumerate(task["cases"]):
        directory = Path(task["directory"]) / str(number)
        write_checkpoint(directory, case["kind"] == "int8", case["kind"] == "tied")
        answers.append(run_case(case | {"checkpoint": str(directory)}))
    os.write(OUTPUT, json.dumps(answers).encode())


if __name__ == "__main__":
    main()

"""Layouts of checkpoints, predicted here and built by the real engine's model classes on the meta device."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rigappliance.plan.catalogue import entries, tensors_of
from rigappliance.plan.sharding import RankWeights, rank_weights
from rigappliance.plan.tensors import CheckpointShape
from tests.checkpoints import write_headers

SCRIPT = Path(__file__).parent / "engine" / "meta_weights.py"
FP8_STATIC = {"quant_method": "fp8", "activation_scheme": "static"}
FP8_BLOCKS = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
GPTQ_INT4 = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}
# FP8's classes go by the list, not by the headers.
PLAIN_GATES = {"modules_to_not_convert": [f"model.layers.{layer}.mlp.gate" for layer in range(48)]}
# One group a column: the scales of row-parallel matrices stay whole on each rank.
GPTQ_COLUMNS = {"quant_method": "gptq", "bits": 8, "group_size": -1, "desc_act": True, "sym": True}


def compressed(weights: dict[str, Any], inputs: dict[str, Any] | None, form: str) -> dict[str, Any]:
    group = {"targets": ["Linear"], "weights": weights, "input_activations": inputs, "output_activations": None}
    return {
        "quant_method": "compressed-tensors", "format": form, "ignore": ["lm_head"],
        "quantization_status": "compressed", "config_groups": {"group_0": group},
    }  # fmt: skip


W4A16 = compressed(
    {"num_bits": 4, "type": "int", "symmetric": False, "strategy": "group", "group_size": 128, "dynamic": False},
    None,
    "pack-quantized",
)
W8A8 = compressed(
    {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel", "dynamic": False},
    {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "token", "dynamic": True},
    "int-quantized",
)
FP8_CHANNELS = compressed(
    {"num_bits": 8, "type": "float", "symmetric": True, "strategy": "channel", "dynamic": False},
    {"num_bits": 8, "type": "float", "symmetric": True, "strategy": "token", "dynamic": True},
    "float-quantized",
)
W8A16 = compressed(
    {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel", "dynamic": False}, None, "pack-quantized"
)
PHI3 = {
    "architectures": ["Phi3ForCausalLM"], "model_type": "phi3", "num_attention_heads": 32, "num_key_value_heads": 8,
    "hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 4, "vocab_size": 32064,
    "pad_token_id": 32000, "eos_token_id": 32000, "bos_token_id": 1, "original_max_position_embeddings": 4096,
    "partial_rotary_factor": 1.0,
}  # fmt: skip
MIXTRAL = {
    "architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "num_local_experts": 8, "num_hidden_layers": 4,
    "num_experts_per_tok": 2,
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A checkpoint of the catalogue, with changes to its config.json, under a layout; ``stage`` is the one compared."""

    model: str
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    stage: int = 0
    changes: dict[str, Any] = field(default_factory=dict)
    label: str = ""
    dtype: str = "auto"
    partition: str | None = None

    @property
    def name(self) -> str:
        stage = f" stage {self.stage}" if self.pipeline_parallel > 1 else ""
        partition = f" {self.partition}" if self.partition else ""
        what = f"{self.model}{' ' + self.label if self.label else ''}"
        return f"{what} TP {self.tensor_parallel} PP {self.pipeline_parallel}{partition}{stage}"

    def shape(self) -> CheckpointShape:
        found = next(entry for name, entry in entries().items() if name.endswith(f"/{self.model}"))
        config = {key: value for key, value in {**found.config, **self.changes}.items() if value is not None}
        return CheckpointShape(self.model, config, dict(tensors_of(self.model, config)))

    def predicted(self) -> RankWeights:
        return rank_weights(
            self.shape(),
            self.tensor_parallel,
            self.pipeline_parallel,
            self.stage,
            dtype=self.dtype,
            partition=self.partition,
        )


INT8, BF16 = "Qwen2.5-72B-Instruct-GPTQ-Int8", "Qwen2.5-7B-Instruct"
CASES = (
    *(Case(INT8, ranks) for ranks in (1, 2, 4, 8)),
    Case(INT8, 1, 8, stage=0),
    Case(INT8, 1, 8, stage=7),
    Case(INT8, 2, 4, stage=3, partition="21,21,21,17"),
    Case("Qwen2.5-72B-Instruct-GPTQ-Int4", 8),
    Case("Qwen2.5-72B-Instruct-AWQ", 8),
    Case("Qwen2.5-32B-Instruct-AWQ", 4),
    Case("Qwen2.5-14B-Instruct-GPTQ-Int4", 2, 2, stage=1),
    Case("Qwen2.5-0.5B-Instruct", 2),
    # Tied: embedding on the last stage too. 24 layers over 5 stages are uneven.
    Case("Qwen2.5-0.5B-Instruct", 1, 5, stage=4),
    Case("Qwen2.5-0.5B-Instruct", 1, 5, stage=1),
    Case("Qwen2.5-0.5B-Instruct", 1, dtype="float32"),
    # 2 KV heads for 4 and 8 ranks.
    Case("Qwen2.5-3B-Instruct", 4),
    Case("Qwen2.5-3B-Instruct", 8),
    Case(BF16, 4, 4, stage=2),
    Case(BF16, 2, changes={"torch_dtype": "float32"}, label="as float32"),
    # A vocabulary that 64 does not divide.
    Case(BF16, 2, changes={"vocab_size": 151_900}, label="odd vocabulary"),
    Case(BF16, 2, changes={"quantization_config": FP8_STATIC}, label="FP8 static"),
    Case("Qwen3-8B", 4, changes={"quantization_config": FP8_BLOCKS}, label="FP8 blocks"),
    Case(BF16, 2, changes={"quantization_config": GPTQ_COLUMNS, "torch_dtype": "float16"}, label="GPTQ by column"),
    Case(BF16, 2, changes={"quantization_config": W4A16}, label="W4A16"),
    Case("Llama-3.1-8B-Instruct", 2, changes={"quantization_config": W8A8}, label="W8A8"),
    Case("Llama-3.1-8B-Instruct", 4, changes={"quantization_config": FP8_CHANNELS}, label="FP8 by channel"),
    Case("Qwen3-8B", 2, changes={"quantization_config": W8A16}, label="W8A16 by channel"),
    Case("Llama-3.1-8B-Instruct", 8),
    Case("Llama-3.1-70B-Instruct", 8, 2, stage=1),
    Case("Llama-3.1-8B-Instruct", 2, changes={"attention_bias": True, "mlp_bias": True}, label="with biases"),
    Case("Llama-3.1-8B-Instruct", 2, changes={"architectures": ["MistralForCausalLM"], "model_type": "mistral",
                                              "rope_scaling": None, "head_dim": 96}, label="as Mistral"),
    Case("Qwen3-8B", 2, 2, stage=0),
    Case("Qwen3-32B", 8),
    Case("Qwen3-30B-A3B", 4, 2, stage=1),
    Case("Qwen3-30B-A3B", 2, 3, stage=1),
    Case("Qwen3-30B-A3B", 2, 8, stage=3, changes={"quantization_config": GPTQ_INT4, "torch_dtype": "float16"},
         label="GPTQ-Int4"),
    Case("Qwen3-30B-A3B", 3, 8, stage=3, changes={"quantization_config": AWQ, "torch_dtype": "float16",
                                                  "vocab_size": 151872, "num_attention_heads": 30,
                                                  "num_key_value_heads": 3}, label="AWQ, 3 ranks"),
    Case("Qwen3-30B-A3B", 2, 8, stage=7, changes={"quantization_config": FP8_BLOCKS | PLAIN_GATES}, label="FP8 blocks"),
    Case("Qwen3-30B-A3B", 4, 8, stage=0, changes={"quantization_config": FP8_STATIC | PLAIN_GATES}, label="FP8 static"),
    Case("Llama-3.1-8B-Instruct", 2, 2, stage=0, changes={**MIXTRAL, "rope_scaling": None}, label="as Mixtral"),
    Case("Llama-3.1-8B-Instruct", 2, changes={**PHI3, "rope_scaling": None, "max_position_embeddings": 4096},
         label="as Phi-3"),
    Case("Llama-3.1-8B-Instruct", 2, changes={**PHI3, "rope_scaling": {"type": "longrope", "short_factor": [1.0] * 32,
                                                                       "long_factor": [2.0] * 32}},
         label="as Phi-3 with LongRoPE"),
    Case(BF16, 1, changes={"rope_scaling": {"rope_type": "yarn", "factor": 4.0,
                                            "original_max_position_embeddings": 32768}}, label="YaRN"),
)  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """What the engine's classes registered: name to bytes, and after Marlin where that can be computed."""

    created: dict[str, int]
    loaded: dict[str, int] | None
    error: str = ""


def built_by_the_engine(python: Path, cases: Sequence[Case], directory: Path) -> list[Answer]:
    """One process for all cases: importing the engine takes longer than building every model."""
    tasks = []
    for number, case in enumerate(cases):
        path = write_headers(case.shape(), directory / str(number))
        tasks.append(
            {
                "directory": str(path),
                "tensor_parallel": case.tensor_parallel,
                "pipeline_parallel": case.pipeline_parallel,
                "stage": case.stage,
                "dtype": case.dtype,
                "partition": case.partition,
            }
        )
    process = subprocess.run(
        ["nice", "-n", "19", str(python), str(SCRIPT)], input=json.dumps(tasks), capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr[-4000:]
    return [
        Answer(answer.get("created", {}), answer.get("loaded"), answer.get("error", ""))
        for answer in json.loads(process.stdout)
    ]

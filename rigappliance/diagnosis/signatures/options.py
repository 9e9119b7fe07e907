"""Options that the engine's parser, its configuration classes or a model refuse."""

from __future__ import annotations

from rigappliance.diagnosis.result import Confidence
from rigappliance.diagnosis.signature import Signature, hint

REJECTED = "option-rejected"
CERTAIN = Confidence.CERTAIN

OPTIONS = (
    Signature("unrecognised", REJECTED, "error: unrecognized arguments:", "argparse", confidence=CERTAIN),
    Signature("argument", REJECTED, "error: argument ", "argparse", confidence=CERTAIN),
    Signature(
        "argument-required", REJECTED, "error: the following arguments are required", "argparse", confidence=CERTAIN
    ),
    Signature("argument-ambiguous", REJECTED, "error: ambiguous option", "argparse", confidence=CERTAIN),
    Signature(
        "unknown-environment", REJECTED, "Unknown vLLM environment variable detected", "envs", confidence=CERTAIN
    ),
    Signature(
        "length-derived", REJECTED, "is greater than the derived max_model_len", "config/model", confidence=CERTAIN
    ),
    Signature("heads", REJECTED, "must be divisible by tensor parallel size", "config/model", confidence=CERTAIN),
    Signature(
        "batched-length",
        REJECTED,
        "max_num_batched_tokens (",
        "config/scheduler",
        r"smaller than max_model_len|must be greater than or equal to max_num_seqs",
        confidence=CERTAIN,
    ),
    Signature(
        "numa-nodes", REJECTED, "Not enough allowed NUMA nodes to bind", "utils/ompmultiprocessing", confidence=CERTAIN
    ),
    Signature(
        "pipeline", REJECTED, "Pipeline parallelism is not supported for this model", "config/model", confidence=CERTAIN
    ),
    Signature("parallel-marlin-input", REJECTED, "is not divisible by min_thread_k", "quantization/utils/marlin_utils"),
    Signature(
        "parallel-marlin-output", REJECTED, "is not divisible by  min_thread_n", "quantization/utils/marlin_utils"
    ),
    Signature("parallel-aligned", REJECTED, "not aligned with the quantized weight shape", "quantization"),
    Signature("adapters", REJECTED, "does not support LoRA", "vLLM", r"Error: "),
    Signature("divisible", REJECTED, "is not divisible by", "distributed/utils", r"\d+ is not divisible by \d+"),
    Signature("exclusive", REJECTED, "are mutually exclusive", "engine/arg_utils", r"Error: \S+ and \S+ are"),
    Signature("backend", REJECTED, "is not valid for this configuration. Reason", "platforms/cuda"),
    Signature("load-format", REJECTED, "Unknown load_format", "model_loader/default_loader", confidence=CERTAIN),
    Signature(
        "load-extra", REJECTED, "Unexpected extra config keys for load format", "model_loader", confidence=CERTAIN
    ),
    Signature("dtype", REJECTED, "Unknown dtype:", "config/model", confidence=CERTAIN),
    Signature("float16", REJECTED, "does not support float16. Reason", "config/model", confidence=CERTAIN),
    Signature("runner", REJECTED, "This model does not support `--runner", "config/model", confidence=CERTAIN),
    Signature(
        "launch-options", REJECTED, "Invalid data-parallel launch options", "engine/arg_utils", confidence=CERTAIN
    ),
    Signature("chat-template", REJECTED, "The supplied chat template", "entrypoints/chat_utils"),
    Signature("pydantic-field", REJECTED, "Input should be", "pydantic", r"Input should be .*\[type=\w+, input_value="),
    Signature("pydantic-extra", REJECTED, "Unexpected keyword argument [type=", "pydantic"),
    Signature(
        "head-dim",
        REJECTED,
        "ead size",
        "attention backends",
        r"[Hh]ead size \S+ is not supported|head_size .* not supported",
    ),
    # Of FlashAttention 3, at the first request: from an fp8 cache it computes bfloat16 alone.
    Signature("fp8-output", REJECTED, "For FP8 input, output must have dtype BF16", "flash-attention, hopper"),
    Signature("fp8-cache", REJECTED, "FP8 KV cache is not supported by", "v1/attention/backends", confidence=CERTAIN),
    hint("pydantic", REJECTED, "validation error", "pydantic", r"\d+ validation errors? for "),
    hint("pydantic-value", REJECTED, "Value error, ", "pydantic"),
)

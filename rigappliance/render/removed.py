"""Options and variables that older vLLM had and the pinned one lacks, each with what to do instead.

Options and variables that vLLM has had at some time since 0.4, with what does their
work now.  The tests prove that the pinned engine knows none of them and has
every replacement that is an option.
"""

from __future__ import annotations

NOTHING = "remove it; nothing replaces it"
SPECULATION = "set speculative-config, a table such as { method = 'ngram', num_speculative_tokens = 3 }"
STRUCTURED = "set structured-outputs-config, such as { backend = 'xgrammar' }"
TOKENIZER_POOL = "remove it; the tokenizer pool went with the V0 engine"
PROMPT_ADAPTER = "remove it; prompt adapters were dropped, LoRA (enable-lora) is what is left"
VISION = "remove it; the engine reads it from the checkpoint's processor"
EPLB = "set the key of that name in eplb-config"
EXECUTOR = "set distributed-executor-backend, such as 'mp' or 'ray'"
STEPS = "remove it; the V1 engine has async-scheduling instead of multi-step scheduling"

# Long name → what to do instead, as one clause.
REMOVED: dict[str, str] = {
    "O": "set engine.optimization_level",
    "O0": "set engine.optimization_level = 0",
    "O1": "set engine.optimization_level = 1",
    "O2": "set engine.optimization_level = 2",
    "O3": "set engine.optimization_level = 3",
    "calculate-kv-scales": "remove it; scales come from the checkpoint",
    "chat-template-text-format": "set chat-template-content-format",
    "collect-model-execute-time": "set collect-detailed-traces = ['all']",
    "collect-model-forward-time": "set collect-detailed-traces = ['all']",
    "cuda-graph-sizes": "set cudagraph-capture-sizes, a list of batch sizes",
    "device": "set engine.device; the engine build decides what it computes on",
    "disable-async-output-proc": "set async-scheduling = false",
    "disable-frontend-multiprocessing": NOTHING,
    "disable-image-processor": VISION,
    "disable-log-requests": "remove it; requests are logged only with enable-log-requests = true",
    "disable-logprobs-during-spec-decoding": SPECULATION,
    "disable-mm-preprocessor-cache": "set mm-processor-cache-gb = 0",
    "enable-microbatching": "set enable-dbo = true",
    "enable-multimodal-encoder-data-parallel": "set mm-encoder-tp-mode = 'data'",
    "enable-prompt-adapter": PROMPT_ADAPTER,
    "enable-reasoning": "set reasoning-parser alone; it enables reasoning",
    "engine-use-ray": EXECUTOR,
    "eplb-log-balancedness": EPLB,
    "eplb-step-interval": EPLB,
    "eplb-window-size": EPLB,
    "guided-decoding-backend": STRUCTURED,
    "guided-decoding-disable-additional-properties": (
        "set structured-outputs-config = { disable_additional_properties = true }"
    ),
    "guided-decoding-disable-any-whitespace": "set structured-outputs-config = { disable_any_whitespace = true }",
    "guided-decoding-disable-fallback": STRUCTURED,
    "image-feature-size": VISION,
    "image-input-shape": VISION,
    "image-input-type": VISION,
    "image-token-id": VISION,
    "kv-cache-scales-path": "remove it; scales come from the checkpoint",
    "logits-processor-pattern": "set logits-processors, a list of import paths",
    "long-lora-scaling-factors": "remove it; long LoRA was dropped",
    "lora-extra-vocab-size": "remove it; LoRA can no longer add tokens",
    "max-context-len-to-capture": "set max-cudagraph-capture-size, in tokens of a batch",
    "max-long-partial-prefills": "set long-prefill-token-threshold",
    "max-num-partial-prefills": "set long-prefill-token-threshold",
    "max-paddings": NOTHING,
    "max-prompt-adapter-token": PROMPT_ADAPTER,
    "max-prompt-adapters": PROMPT_ADAPTER,
    "max-seq-len-to-capture": "set max-cudagraph-capture-size, in tokens of a batch, or cudagraph-capture-sizes",
    "mm-cache-preprocessor": "set mm-processor-cache-gb",
    "multi-step-stream-outputs": STEPS,
    "ngram-prompt-lookup-max": SPECULATION,
    "ngram-prompt-lookup-min": SPECULATION,
    "num-lookahead-slots": SPECULATION,
    "num-redundant-experts": EPLB,
    "num-scheduler-steps": STEPS,
    "num-speculative-heads": SPECULATION,
    "num-speculative-tokens": "set spec-tokens, or num_speculative_tokens in speculative-config",
    "override-neuron-config": "remove it; Neuron is a plug-in of its own, see additional-config",
    "override-pooler-config": "set pooler-config",
    "preemption-mode": "remove it; the V1 engine always recomputes",
    "prompt-adapters": PROMPT_ADAPTER,
    "qlora-adapter-name-or-path": "set lora-modules",
    "quantization-param-path": "remove it; scales come from the checkpoint",
    "rope-scaling": "set hf-overrides, such as { rope_parameters = { rope_type = 'yarn', factor = 4.0 } }",
    "rope-theta": "set hf-overrides, such as { rope_parameters = { rope_theta = 1000000.0 } }",
    "scheduler-delay-factor": NOTHING,
    "spec-decoding-acceptance-method": SPECULATION,
    "speculative-disable-by-batch-size": SPECULATION,
    "speculative-disable-mqa-scorer": SPECULATION,
    "speculative-draft-tensor-parallel-size": SPECULATION,
    "speculative-max-model-len": SPECULATION,
    "speculative-model": "set spec-model, or model in speculative-config",
    "speculative-model-quantization": SPECULATION,
    "swap-space": "remove it; the V1 engine recomputes instead of swapping, and host swap is memory.swap",
    "task": "set runner, such as 'pooling', and convert, such as 'embed'",
    "tokenizer-pool-extra-config": TOKENIZER_POOL,
    "tokenizer-pool-size": TOKENIZER_POOL,
    "tokenizer-pool-type": TOKENIZER_POOL,
    "typical-acceptance-sampler-posterior-alpha": SPECULATION,
    "typical-acceptance-sampler-posterior-threshold": SPECULATION,
    "use-dummy-weights": "set engine.load_format = 'dummy'",
    "use-np-weights": "set engine.load_format = 'npcache'",
    "use-v2-block-manager": "remove it; it is the only one",
    "worker-use-ray": EXECUTOR,
}

PROFILER = "set the key of that name in engine.options' profiler-config"
MOE = "set moe-backend in engine.options"
ATTENTION = "set attention-backend or attention-config in engine.options"

# Variable → what to do instead, as one clause.
REMOVED_ENVIRONMENT: dict[str, str] = {
    "VLLM_ALL2ALL_BACKEND": "set all2all-backend in engine.options",
    "VLLM_ALLOW_ENGINE_USE_RAY": NOTHING,
    "VLLM_ATTENTION_BACKEND": "set attention-backend in engine.options",
    "VLLM_CPU_MOE_PREPACK": NOTHING,
    "VLLM_CPU_SGL_KERNEL": NOTHING,
    "VLLM_CUSTOM_OPS": "set custom_ops in engine.options' compilation-config",
    "VLLM_DISABLE_FLASHINFER_PREFILL": ATTENTION,
    "VLLM_ENGINE_ITERATION_TIMEOUT_S": "set engine.step_timeout",
    "VLLM_FLASHINFER_FORCE_TENSOR_CORES": NOTHING,
    "VLLM_FLASHINFER_MOE_BACKEND": MOE,
    "VLLM_FLASH_ATTN_VERSION": "set flash_attn_version in engine.options' attention-config",
    "VLLM_FUSED_MOE_CHUNK_SIZE": NOTHING,
    "VLLM_LOGITS_PROCESSOR_THREADS": NOTHING,
    "VLLM_MM_INPUT_CACHE_GIB": "set mm-processor-cache-gb in engine.options",
    "VLLM_NO_DEPRECATION_WARNING": NOTHING,
    "VLLM_RPC_GET_DATA_TIMEOUT_MS": "set engine.step_timeout",
    "VLLM_RPC_TIMEOUT": "set engine.step_timeout",
    "VLLM_SLEEP_WHEN_IDLE": NOTHING,
    "VLLM_TEST_DYNAMO_FULLGRAPH_CAPTURE": NOTHING,
    "VLLM_TORCH_COMPILE_LEVEL": "set engine.optimization_level",
    "VLLM_TORCH_PROFILER_DIR": "set torch_profiler_dir in engine.options' profiler-config",
    "VLLM_TORCH_PROFILER_RECORD_SHAPES": PROFILER,
    "VLLM_TORCH_PROFILER_WITH_FLOPS": PROFILER,
    "VLLM_TORCH_PROFILER_WITH_PROFILE_MEMORY": PROFILER,
    "VLLM_TORCH_PROFILER_WITH_STACK": PROFILER,
    "VLLM_USE_CUDNN_PREFILL": ATTENTION,
    "VLLM_USE_FLASHINFER_MOE_FP16": MOE,
    "VLLM_USE_FLASHINFER_MOE_FP4": MOE,
    "VLLM_USE_FLASHINFER_MOE_FP8": MOE,
    "VLLM_USE_RAY_COMPILED_DAG": NOTHING,
    "VLLM_USE_RAY_SPMD_WORKER": NOTHING,
    "VLLM_USE_TRITON_FLASH_ATTN": ATTENTION,
    "VLLM_USE_TRTLLM_ATTENTION": "set use_trtllm_attention in engine.options' attention-config",
    "VLLM_USE_V1": "remove it; V1 is the only engine",
    "VLLM_V0_USE_OUTLINES_CACHE": "set VLLM_V1_USE_OUTLINES_CACHE",
}

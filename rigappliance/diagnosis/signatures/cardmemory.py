"""Memory of the cards. ``card-memory`` becomes loading, profiling or serving by the traceback or the phase."""

from __future__ import annotations

from rigappliance.diagnosis.result import Confidence
from rigappliance.diagnosis.signature import Signature, hint

KV = "kv-cache-too-small"
TAKEN = "card-memory-taken"
CERTAIN = Confidence.CERTAIN

CARD_MEMORY = (
    Signature("kv-none", KV, "No available memory for the cache blocks", "v1/core/kv_cache_utils", confidence=CERTAIN),
    Signature(
        "kv-length",
        KV,
        "To serve at least one request with the model",
        "v1/core/kv_cache_utils",
        confidence=CERTAIN,
    ),
    Signature(
        "kv-length-old",
        KV,
        "is larger than the maximum number of tokens that can be stored in KV cache",
        "worker (V0)",
        confidence=CERTAIN,
    ),
    Signature("kv-auto-fit", KV, "Cannot auto-fit max_model_len", "v1/core/kv_cache_utils", confidence=CERTAIN),
    Signature("kv-estimate", KV, "the estimated maximum model length is", "v1/core/kv_cache_utils", confidence=CERTAIN),
    Signature("card-free", TAKEN, "Free memory on device", "v1/worker/utils", r"on startup", confidence=CERTAIN),
    Signature("card-external", TAKEN, "Externally held weights on device", "v1/worker/utils", confidence=CERTAIN),
    Signature(
        "card-free-grew",
        TAKEN,
        "Error in memory profiling",
        "worker",
        r"Initial free memory|was not properly cleaned",
    ),
    Signature(
        "card-sampler",
        "card-memory-profiling",
        "CUDA out of memory occurred when warming up sampler",
        "v1/worker/gpu_model_runner",
        confidence=CERTAIN,
    ),
    Signature(
        "card-pooler",
        "card-memory-profiling",
        "CUDA out of memory occurred when warming up pooler",
        "v1/worker/gpu_model_runner",
        confidence=CERTAIN,
    ),
    Signature(
        "card-load",
        "card-memory-loading",
        "Failed to load model - not enough GPU memory",
        "v1/worker/gpu_model_runner",
        confidence=CERTAIN,
    ),
    Signature("card-torch", "card-memory", "CUDA out of memory", "torch", confidence=CERTAIN),
    Signature(
        "card-torch-type", "card-memory", "OutOfMemoryError", "torch", r"OutOfMemoryError: \S", confidence=CERTAIN
    ),
    Signature("card-cuda", "card-memory", "CUDA error: out of memory", "CUDA", confidence=CERTAIN),
    Signature("card-hip", "card-memory", "HIP out of memory", "torch", confidence=CERTAIN),
    Signature("card-triton", "card-memory", "Triton Error [CUDA]: out of memory", "Triton", confidence=CERTAIN),
    Signature("card-nccl", "card-memory", "Cuda failure", "NCCL", r"Cuda failure (?:2 )?'out of memory'"),
    Signature("card-driver-oom", "card-memory", "CUDA_ERROR_OUT_OF_MEMORY", "CUDA"),
    Signature("card-runtime-oom", "card-memory", "cudaErrorMemoryAllocation", "CUDA"),
    Signature("card-cublas", "card-memory", "CUBLAS_STATUS_ALLOC_FAILED", "cuBLAS"),
    Signature("card-cudnn", "card-memory", "CUDNN_STATUS_ALLOC_FAILED", "cuDNN"),
    hint("card-cublas-init", "card-memory", "CUBLAS_STATUS_NOT_INITIALIZED", "cuBLAS"),
)

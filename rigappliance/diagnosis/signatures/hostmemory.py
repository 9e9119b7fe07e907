"""Memory of the host, in the words of libc, Python, torch and NCCL."""

from __future__ import annotations

from rigappliance.diagnosis.result import Confidence
from rigappliance.diagnosis.signature import Signature, hint

SHARED = "shared-memory-full"
REFUSED = "allocation-refused"

_SHARED_MEMORY = r"/dev/shm|[Ss]hared ?[Mm]emory|/torch_\d"  # noqa: S108 searched for, not used

HOST_MEMORY = (
    # /dev/shm before everything that merely says ENOSPC or ENOMEM.
    Signature("shm-check", SHARED, "Insufficient space in /dev/shm", "shm_broadcast", confidence=Confidence.CERTAIN),
    Signature("shm-nccl", SHARED, "shared memory segment /dev/shm", "NCCL", r"No space left|[Ff]ailed|[Ee]rror"),
    Signature("shm-torch-write", SHARED, "unable to write to file </torch_", "torch"),
    Signature("shm-torch-resize", SHARED, "unable to resize file </torch_", "torch"),
    Signature("shm-torch-open", SHARED, "unable to open shared memory object", "torch"),
    Signature("shm-loader", SHARED, "caused by insufficient shared memory (shm)", "torch.utils.data"),
    Signature("shm-path", SHARED, "No space left on device", "any", _SHARED_MEMORY),
    Signature("shm-allocate", SHARED, "posix_fallocate", "any", r"No space left|ENOSPC|rror"),
    Signature("torch-cpu-allocator", REFUSED, "DefaultCPUAllocator", "torch"),
    Signature("torch-mmap", REFUSED, "unable to mmap", "torch", r"Cannot allocate memory|you tried to mmap"),
    Signature("numpy-allocation", REFUSED, "Unable to allocate", "numpy", r"Unable to allocate [\d.]+ [KMGT]iB"),
    Signature("fork-refused", REFUSED, "[Errno 12] Cannot allocate memory", "Python"),
    Signature("shell-fork-refused", REFUSED, "fork: Cannot allocate memory", "sh"),
    Signature("python-memory", REFUSED, "MemoryError", "Python", r"(?:^|[\s:])MemoryError(?::|\s*$)"),
    Signature("std-bad-alloc", REFUSED, "std::bad_alloc", "libstdc++"),
    Signature("rust-allocation", REFUSED, "memory allocation of", "Rust", r"memory allocation of \d+ bytes failed"),
    Signature("thread-refused", REFUSED, "pthread_create", "libgomp, OpenBLAS", r"Resource temporarily|failed.*EAGAIN"),
    Signature("thread-start", REFUSED, "can't start new thread", "Python"),
    Signature("cuda-pinned", REFUSED, "cudaHostAlloc", "torch", r"out of memory|failed"),
    Signature("cpu-free-memory", "memory-taken", "is less than desired CPU memory utilization", "v1/worker/cpu_worker"),
    Signature("cpu-kv-memory", "memory-taken", "is less than requested memory for kv", "v1/worker/cpu_worker"),
    hint("any-enomem", REFUSED, "Cannot allocate memory", "libc"),
    # bash's report, and what a container's runtime adds to it.
    Signature(
        "shell-oom-note",
        "machine-out-of-memory",
        "OOMKilled",
        "docker, Kubernetes",
        r"OOMKilled\"?\s*:?\s*(?:true|$|\()|Reason:\s*OOMKilled",
        confidence=Confidence.CERTAIN,
    ),
    Signature("compiler-killed", "machine-out-of-memory", "Killed signal terminated program", "gcc"),
    Signature("ray-oom", "machine-out-of-memory", "killed due to the node running low on memory", "Ray"),
)

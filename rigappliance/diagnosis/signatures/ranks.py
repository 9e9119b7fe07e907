"""Ranks that talk to each other: NCCL, Gloo, torch.distributed, and the engine's own time limits."""

from __future__ import annotations

from rigappliance.diagnosis.result import Confidence
from rigappliance.diagnosis.signature import Signature, hint

TIMED_OUT = "ranks-timed-out"
UNREACHABLE = "ranks-unreachable"
ENGINE = "engine-timed-out"

RANKS = (
    Signature("nccl-watchdog", TIMED_OUT, "Watchdog caught collective operation timeout", "torch NCCL"),
    Signature("nccl-monitored", TIMED_OUT, "failed to pass monitoredBarrier", "torch"),
    Signature("monitored-barrier", TIMED_OUT, "timed out in monitoredBarrier after", "torch"),
    Signature("stateless-barrier", TIMED_OUT, "Barrier timed out after", "distributed/utils"),
    Signature("store-input", TIMED_OUT, "waitForInput: ", "torch TCPStore", r"timed out after"),
    Signature("store-validate", UNREACHABLE, "TCP client failed to connect/validate to host", "torch TCPStore"),
    Signature(
        "gloo-timeout",
        TIMED_OUT,
        "Timed out waiting",
        "Gloo",
        r"[Tt]imed out waiting \d+ms for (?:recv|send) operation",
    ),
    Signature("gloo-wait", TIMED_OUT, "Wait timeout", "torch", r"wait timeout after \d+ms|Wait timeout"),
    Signature("store-timeout", TIMED_OUT, "DistStoreError", "torch", r"Timed out after|timed out|[Tt]imeout"),
    Signature("store-wait", TIMED_OUT, "wait timeout after", "torch TCPStore", r"wait timeout after \d+ms"),
    Signature("store-clients", TIMED_OUT, "clients joined", "torch TCPStore", r"Timed out after \d+ seconds waiting"),
    Signature("nccl-heartbeat", TIMED_OUT, "ProcessGroupNCCL's watchdog got stuck", "torch NCCL"),
    Signature("gloo-mesh", UNREACHABLE, "connectFullMesh failed", "Gloo"),
    Signature("gloo-connect", UNREACHABLE, "Gloo", "Gloo", r"SO_ERROR: (?:Connection refused|No route to host)"),
    Signature(
        "gloo-connect-timeout", UNREACHABLE, "Connection timed out", "Gloo, NCCL", r"[Gg]loo|NCCL|nccl|TCPStore|socket"
    ),
    Signature("gloo-address", UNREACHABLE, "unable to resolve hostname to a (local) address", "Gloo"),
    Signature("gloo-interface", UNREACHABLE, "Unable to find address for", "Gloo, NCCL"),
    Signature(
        "nccl-interface", UNREACHABLE, "Bootstrap : no socket interface found", "NCCL", confidence=Confidence.CERTAIN
    ),
    Signature(
        "nccl-connect",
        UNREACHABLE,
        "Connect to",
        "NCCL",
        r"Connect to \S+ failed : (?:Connection refused|No route to host|Connection timed out|Network is)",
    ),
    Signature(
        "nccl-socket",
        UNREACHABLE,
        "socketStartConnect",
        "NCCL",
        r"Connection refused|No route to host|timed out|unreachable",
    ),
    Signature("nccl-poll", UNREACHABLE, "socketPollConnect", "NCCL", r"Connection|timed out|exceeded|unreachable"),
    Signature(
        "store-refused", UNREACHABLE, "client socket has", "torch TCPStore", r"has (?:timed out|failed to connect)"
    ),
    Signature("no-route", UNREACHABLE, "No route to host", "libc"),
    Signature("net-unreachable", UNREACHABLE, "Network is unreachable", "libc", r"\[Errno 101\]|NCCL|[Gg]loo|c10d"),
    Signature("front-end-handshake", ENGINE, "Did not receive response from front-end process", "v1/engine/core"),
    Signature(
        "core-ready",
        ENGINE,
        "Timed out waiting for engine",
        "v1/engine",
        r"Timed out waiting for engines?(?: core)?|VLLM_ENGINE_READY_TIMEOUT_S",
    ),
    Signature("core-ready-wait", ENGINE, "VLLM_ENGINE_READY_TIMEOUT_S", "v1/engine", r"[Tt]imed? ?out"),
    Signature("rpc-timeout", ENGINE, "RPC call to", "v1/executor/multiproc_executor", r"RPC call to .* timed out"),
    Signature("v0-timeout", ENGINE, "Engine iteration timed out", "engine (V0)"),
    Signature("v0-rpc", ENGINE, "RPCServer process died before responding", "engine (V0)"),
    Signature("ray-dag", ENGINE, "RayChannelTimeoutError", "Ray"),
    Signature("ray-compiled", ENGINE, "RAY_CGRAPH_get_timeout", "Ray", r"[Tt]imed out|timeout"),
    # NCCL's generic words: often the echo of another rank's end.
    hint("nccl-remote", UNREACHABLE, "ncclRemoteError", "NCCL"),
    hint("nccl-system", UNREACHABLE, "ncclSystemError", "NCCL"),
    hint("nccl-system-text", UNREACHABLE, "NCCL error: unhandled system error", "NCCL"),
    hint("nccl-internal", UNREACHABLE, "ncclInternalError", "NCCL"),
    hint("nccl-cuda-name", "part-crashed", "ncclUnhandledCudaError", "NCCL"),
    hint("nccl-cuda", "part-crashed", "unhandled cuda error", "NCCL"),
    hint("nccl-timeout", TIMED_OUT, "Some NCCL operations have failed or timed out", "torch NCCL"),
    hint("collective-timeout", TIMED_OUT, "Timeout(ms)=", "torch NCCL", r"ran for \d+ milliseconds before timing out"),
)

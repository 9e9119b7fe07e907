"""Ports, disks and addresses."""

from __future__ import annotations

from rigappliance.diagnosis.result import Confidence
from rigappliance.diagnosis.signature import Signature

CERTAIN = Confidence.CERTAIN

MACHINE = (
    Signature(
        "bind-uvicorn",
        "port-taken",
        "error while attempting to bind on address",
        "asyncio, uvicorn",
        r"address already in use",
        confidence=CERTAIN,
    ),
    Signature("bind", "port-taken", "Address already in use", "libc", r"\[Errno 98\]|OSError", confidence=CERTAIN),
    Signature("bind-zmq", "port-taken", "Address already in use (addr=", "zmq", confidence=CERTAIN),
    Signature(
        "address",
        "address-missing",
        "Cannot assign requested address",
        "libc",
        r"\[Errno 99\]|bind|addr=",
        confidence=CERTAIN,
    ),
    Signature(
        "host-name", "address-missing", "Name or service not known", "libc", r"gaierror.*setup_server|bind|\[Errno -2\]"
    ),
    Signature("enospc", "disk-full", "[Errno 28]", "Python", confidence=CERTAIN),
    Signature("enospc-libc", "disk-full", "No space left on device", "libc", confidence=CERTAIN),
    Signature("quota", "disk-full", "Disk quota exceeded", "libc", confidence=CERTAIN),
    Signature("no-usable-temporary", "disk-full", "No usable temporary directory found", "tempfile"),
    Signature("bind-store", "port-taken", "EADDRINUSE", "torch TCPStore"),
    Signature("read-only", "cache-unwritable", "Read-only file system", "libc", confidence=CERTAIN),
    Signature(
        "cache-denied",
        "cache-unwritable",
        "[Errno 13] Permission denied",
        "Python",
        r"denied: '(?!.*(?:\.safetensors|\.json|/hub/)).*(?:cache|inductor|triton|flashinfer|/tmp/|/run/|/shm/)",
    ),
    Signature(
        "loader-read",
        "disk-failing",
        "rigappliance loader:",
        "loader/errors",
        r"reading \d+ bytes from byte \d+ failed: (?!.*errno 12\))",
        confidence=CERTAIN,
    ),
    Signature("eio", "disk-failing", "[Errno 5] Input/output error", "Python", confidence=CERTAIN),
    Signature("eio-rust", "disk-failing", "Input/output error (os error 5)", "safetensors", confidence=CERTAIN),
    Signature("eio-libc", "disk-failing", "Input/output error", "libc"),
    Signature("too-many-files", "open-files", "Too many open files", "libc", r"\[Errno 24\]|os error 24|rror"),
)

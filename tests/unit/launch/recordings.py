"""Logs of the real engine; tests/recordings/README.md says how they were made."""

from __future__ import annotations

from pathlib import Path

DIRECTORY = Path(__file__).resolve().parents[2] / "recordings"
NAMES = (
    "first-start", "cached-start", "truncated-shard", "port-taken", "too-few-numa-nodes", "worker-killed",
    "cuda-first-start", "cuda-eager", "cuda-second-start",
)  # fmt: skip


def recorded(name: str) -> bytes:
    return (DIRECTORY / f"{name}.log").read_bytes()


def split(data: bytes) -> list[str]:
    """Reference of how bytes become lines: a carriage return ends one, and the last need not be ended."""
    lines = data.replace(b"\r", b"\n").split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    return [line.decode(errors="replace") for line in lines]

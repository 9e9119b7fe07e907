"""Two cards that can talk to each other through a slow link only: NCCL over the loopback, which is limited.

Peer access and shared memory are taken from NCCL, so that everything goes through sockets, and a token bucket on the
loopback lets as many bytes pass as a link of PCIe generation 1 x1 does (tc-tbf(8)).
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

# 2.5 GT/s with 8 of 10 bits for data: 250 MB/s.
LINK_BITS_S = 2_000_000_000
ENVIRONMENT = {
    "NCCL_P2P_DISABLE": "1", "NCCL_SHM_DISABLE": "1", "NCCL_NET": "Socket", "NCCL_SOCKET_IFNAME": "lo",
    # Nor by NVLink, whose multicast is a way of its own.
    "NCCL_NVLS_ENABLE": "0", "TORCH_SYMM_MEM_DISABLE_MULTICAST": "1", "NVSHMEM_DISABLE_NVLS": "1",
}  # fmt: skip
OPTIONS = {"disable-custom-all-reduce": True}
# What the plan has to take the links for.
GENERATION, WIDTH = 1, 1


class NoLimitError(RuntimeError):
    """The loopback cannot be limited here."""


@contextmanager
def limited(bits_s: int = LINK_BITS_S) -> Iterator[None]:
    """Raises ``NoLimitError``."""
    tc = shutil.which("tc")
    if tc is None:
        raise NoLimitError("no tc (package iproute2): carry it, or links are as fast as they are")
    add = [tc, "qdisc", "add", "dev", "lo", "root", "tbf", "rate", f"{bits_s}bit", "burst", "2mb", "latency", "100ms"]
    done = subprocess.run(add, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoLimitError(f"tc: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run([tc, "qdisc", "del", "dev", "lo", "root"], check=False)

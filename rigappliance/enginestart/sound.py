"""Whether this process may be forked: nothing in it may be lost, held or refused in a child.

A thread is lost with its locks held; CUDA, once initialised, refuses to work in a child; an open device is shared.
"""

from __future__ import annotations

import ctypes
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path

PROC_SELF = Path("/proc/self")
CUDA_ERROR_NOT_INITIALIZED = 3  # cuda.h
NVML_SUCCESS = 0  # nvml.h
NVML_OPEN_AT_MOST = 100
# NVML's own, which stays when it is closed.  A child works without it: NVML, CUDA, compilation and graphs were tried on
# a card (H100, driver 580.159, 2026-11-24), and CUDA's threads come only with cuInit, which is looked for by itself.
NVML_THREAD = r"cuda\d+"
# Of the allocator that pyarrow brings, where that is installed: its handlers of pthread_atfork forget the thread in a
# child, and give its locks anew (jemalloc, background_thread.c, background_thread_postfork_child).
JEMALLOC_THREAD = "jemalloc_bg_thd"
HARMLESS_THREADS = re.compile(f"{NVML_THREAD}|{JEMALLOC_THREAD}")
DEVICES = ("/dev/nvidia", "/dev/dri", "/dev/kfd")


def threads(proc_self: Path = PROC_SELF) -> list[str]:
    """Names of all threads of this process, those of its libraries too."""
    return [(task / "comm").read_text(errors="replace").strip() for task in (proc_self / "task").iterdir()]


def close_nvml() -> None:
    """Let go of the cards that were only counted.

    torch counts them through NVML and leaves that open, with a thread and the devices; whoever asks NVML again opens it
    again (torch/cuda/__init__.py, vLLM's platforms/cuda.py).
    """
    library = mapped("libnvidia-ml.so")
    if library is None:
        return
    nvml = ctypes.CDLL(library)
    for _ in range(NVML_OPEN_AT_MOST):
        # Each counts one opening back, until there is none.
        if nvml.nvmlShutdown() != NVML_SUCCESS:
            return


def before_fork() -> Iterator[str]:
    """Reasons against a fork of this process; none is what one wants."""
    names = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    if names:
        yield f"threads are running: {', '.join(sorted(names))}"
    library = mapped("libcuda.so")
    if library is not None and cuda_is_initialised(library):
        yield "CUDA is initialised"
    devices = sorted({name for name in open_files() if name.startswith(DEVICES)})
    if devices:
        yield f"devices are open: {', '.join(devices)}"


def after_fork(proc_self: Path = PROC_SELF) -> Iterator[str]:
    """Asked in the parent just after a fork.

    OpenBLAS ends its threads before every fork and starts them when it needs them; a thread that is still there,
    such as one of OpenMP's, was lost in the child while somebody may have counted on it.
    """
    names = [name for name in threads(proc_self) if not HARMLESS_THREADS.fullmatch(name)]
    if len(names) > 1:
        yield f"{len(names) - 1} threads of libraries outlive a fork, names of all: {', '.join(sorted(names))}"


def mapped(name: str, proc_self: Path = PROC_SELF) -> str | None:
    """Path of the mapped file whose name begins with ``name``."""
    for line in (proc_self / "maps").read_text(encoding="utf-8", errors="replace").splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and Path(fields[5]).name.startswith(name):
            return fields[5]
    return None


def cuda_is_initialised(library: str) -> bool:
    """Whether anybody in this process has called cuInit: without it the driver refuses to count its cards."""
    count = ctypes.c_int()
    try:
        status: int = ctypes.CDLL(library).cuDeviceGetCount(ctypes.byref(count))
    except (OSError, AttributeError):
        # Not the driver that CUDA uses, so nothing can be said for it.
        return True
    return status != CUDA_ERROR_NOT_INITIALIZED


def open_files(proc_self: Path = PROC_SELF) -> Iterator[str]:
    for entry in os.scandir(proc_self / "fd"):
        try:
            yield str(Path(entry.path).readlink())
        except OSError:
            # The descriptor of this very listing is closed by now.
            continue

"""Print this machine as one JSON object, in the form of the recordings beside this file.

    python record.py > name.json

Needs nothing but the standard library, and ``pynvml`` where there are cards.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

FILES = (
    "proc/meminfo",
    "proc/swaps",
    "proc/buddyinfo",
    "proc/self/limits",
    "proc/self/cgroup",
    "proc/sys/kernel/osrelease",
    "proc/sys/vm/overcommit_memory",
    "proc/sys/vm/page-cluster",
    "proc/sys/vm/swappiness",
    "sys/kernel/mm/transparent_hugepage/enabled",
    "sys/kernel/mm/transparent_hugepage/defrag",
)
SYSTEM = ("nvmlSystemGetDriverVersion", "nvmlSystemGetCudaDriverVersion")
CARD: dict[str, tuple[int, ...]] = {
    "nvmlDeviceGetName": (),
    "nvmlDeviceGetCudaComputeCapability": (),
    "nvmlDeviceGetMemoryInfo": (),
    "nvmlDeviceGetPciInfo": (),
    "nvmlDeviceGetCurrPcieLinkGeneration": (),
    "nvmlDeviceGetMaxPcieLinkGeneration": (),
    "nvmlDeviceGetCurrPcieLinkWidth": (),
    "nvmlDeviceGetMaxPcieLinkWidth": (),
    "nvmlDeviceGetTemperature": (0,),
    "nvmlDeviceGetTemperatureThreshold": (1,),
    "nvmlDeviceGetPowerManagementLimit": (),
    "nvmlDeviceGetPowerManagementDefaultLimit": (),
    "nvmlDeviceGetPowerManagementLimitConstraints": (),
    "nvmlDeviceGetPersistenceMode": (),
    "nvmlDeviceGetComputeMode": (),
    "nvmlDeviceGetComputeRunningProcesses": (),
    "nvmlDeviceGetCurrentClocksEventReasons": (),
    "nvmlDeviceGetEccMode": (),
    "nvmlDeviceGetTotalEccErrors": (1, 0),
    "nvmlDeviceGetRetiredPagesPendingStatus": (),
    "nvmlDeviceGetRemappedRows": (),
}


def text_of(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def files() -> dict[str, str]:
    found = {name: text for name in FILES if (text := text_of(Path("/") / name)) is not None}
    # One processor is enough to tell the flags; the mounts of a machine are its own business but for shared memory.
    processors = (text_of(Path("/proc/cpuinfo")) or "").split("\n\n")
    found["proc/cpuinfo"] = processors[0] + "\n"
    mounts = (text_of(Path("/proc/self/mountinfo")) or "").splitlines(keepends=True)
    found["proc/self/mountinfo"] = "".join(line for line in mounts if line.split()[4] in ("/", "/dev/shm"))
    return found


def plain(value: Any) -> Any:
    """Structures as objects, the rest as it is."""
    if hasattr(value, "_fields_"):
        return {name: plain(getattr(value, name)) for name, *_ in value._fields_}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, str | int | float | None):
        return value
    return {name: plain(each) for name, each in vars(value).items()}


def cards() -> dict[str, Any]:
    try:
        nvml = importlib.import_module("pynvml")
        nvml.nvmlInit()
    except Exception as error:
        return {"reason": str(error)}

    def ask(name: str, *arguments: Any) -> Any:
        try:
            return plain(getattr(nvml, name)(*arguments))
        except nvml.NVMLError as error:
            return {"error": type(error).__name__.removeprefix("NVMLError_")}

    handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
    return {
        **{name: ask(name) for name in SYSTEM},
        "cards": [{name: ask(name, handle, *rest) for name, rest in CARD.items()} for handle in handles],
        "peers": [[ask("nvmlDeviceGetP2PStatus", one, other, 0) for other in handles] for one in handles],
    }


def space(path: str) -> list[int] | None:
    try:
        status = os.statvfs(path)
    except OSError:
        return None
    return [status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize]


if __name__ == "__main__":
    machine = {
        "files": files(),
        "space": {"/dev/shm": space("/dev/shm")},
        "limits": {"nofile": resource.getrlimit(resource.RLIMIT_NOFILE)},
        "nvml": cards(),
    }
    json.dump(machine, sys.stdout, indent=1)
    print()

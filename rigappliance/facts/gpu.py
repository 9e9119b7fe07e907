"""What cards are there, read through NVML (the library of the NVIDIA driver).

NVML is loaded on the first call only.  A machine without library, driver or
card gives facts with a reason, and a query that a card does not answer gives
``None``: a mining card on a riser answers less than a workstation's.
"""

from __future__ import annotations

import functools
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rigappliance.facts.cardhealth import CardHealth, read_health
from rigappliance.facts.nvml import as_text, ask
from rigappliance.facts.peers import PeerFacts, read_peers


@dataclass(frozen=True)
class CardFacts:
    """One card, in NVML's order (by PCI bus). ``problem`` says why a card cannot be asked at all.

    PCIe generations and widths are those in use now; an idle card lowers its
    generation, so ``pcie_generation_max`` is the one to judge a slot by.
    ``health`` is ``None`` where it was not asked for.
    """

    index: int
    uuid: str | None = None
    name: str | None = None
    compute_capability: tuple[int, int] | None = None
    memory_total_bytes: int | None = None
    memory_used_bytes: int | None = None
    memory_free_bytes: int | None = None
    pcie_generation: int | None = None
    pcie_generation_max: int | None = None
    pcie_width: int | None = None
    pcie_width_max: int | None = None
    bus_id: str | None = None
    temperature_c: int | None = None
    power_limit_w: float | None = None
    problem: str | None = None
    health: CardHealth | None = None


@dataclass(frozen=True)
class GpuFacts:
    """Driver and cards. ``cuda_version`` is the newest that the driver runs; ``reason`` says why there is no card."""

    driver_version: str | None = None
    cuda_version: str | None = None
    cards: tuple[CardFacts, ...] = ()
    reason: str | None = None
    peers: PeerFacts | None = None


def read_gpu_facts(*, health: bool = False, root: Path = Path("/")) -> GpuFacts:
    """The cards of this machine; ``health`` asks for each one's, and for peer access. Raises nothing.

    ``root`` is where processes have their names.
    """
    nvml, reason = open_nvml()
    if nvml is None:
        return GpuFacts(reason=reason)
    try:
        count = ask(nvml, "nvmlDeviceGetCount")
        cuda = ask(nvml, "nvmlSystemGetCudaDriverVersion")
        return GpuFacts(
            driver_version=as_text(ask(nvml, "nvmlSystemGetDriverVersion")),
            cuda_version=f"{cuda // 1000}.{cuda % 1000 // 10}" if isinstance(cuda, int) else None,
            cards=tuple(read_card(nvml, index, health=health, root=root) for index in range(count or 0)),
            reason={None: "the driver does not say how many cards there are", 0: "the driver sees no card"}.get(count),
            peers=read_peers(nvml, open_handles(nvml, count or 0)) if health else None,
        )
    finally:
        ask(nvml, "nvmlShutdown")


def open_nvml() -> tuple[Any, None] | tuple[None, str]:
    """The module with NVML initialised, or the reason why there is none."""
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        return None, "the Python package nvidia-ml-py is not installed"
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return None, f"NVML does not start: {error}"
    return nvml, None


def open_handles(nvml: Any, count: int) -> list[Any]:
    """Of the cards that the driver can open."""
    handles = (ask(nvml, "nvmlDeviceGetHandleByIndex", index) for index in range(count))
    return [handle for handle in handles if handle is not None]


def read_card(nvml: Any, index: int, *, health: bool, root: Path) -> CardFacts:
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
    except nvml.NVMLError as error:
        return CardFacts(index, problem=f"the driver cannot open it: {error}")
    capability = ask(nvml, "nvmlDeviceGetCudaComputeCapability", handle)
    memory = ask(nvml, "nvmlDeviceGetMemoryInfo", handle)
    limit_mw = ask(nvml, "nvmlDeviceGetPowerManagementLimit", handle)
    return CardFacts(
        index=index,
        uuid=as_text(ask(nvml, "nvmlDeviceGetUUID", handle)),
        name=as_text(ask(nvml, "nvmlDeviceGetName", handle)),
        compute_capability=(int(capability[0]), int(capability[1])) if capability else None,
        memory_total_bytes=memory.total if memory else None,
        memory_used_bytes=memory.used if memory else None,
        memory_free_bytes=memory.free if memory else None,
        pcie_generation=ask(nvml, "nvmlDeviceGetCurrPcieLinkGeneration", handle),
        pcie_generation_max=ask(nvml, "nvmlDeviceGetMaxPcieLinkGeneration", handle),
        pcie_width=ask(nvml, "nvmlDeviceGetCurrPcieLinkWidth", handle),
        pcie_width_max=ask(nvml, "nvmlDeviceGetMaxPcieLinkWidth", handle),
        bus_id=as_text(getattr(ask(nvml, "nvmlDeviceGetPciInfo", handle), "busId", None)),
        temperature_c=read_temperature_c(nvml, handle),
        power_limit_w=limit_mw / 1000 if limit_mw is not None else None,
        health=read_health(nvml, handle, root) if health else None,
    )


def read_temperature_c(nvml: Any, handle: Any) -> int | None:
    # CUDA 14 drops the older function; drivers before 570 lack the newer one.
    sensor = getattr(nvml, "NVML_TEMPERATURE_GPU", 0)
    for function in ("nvmlDeviceGetTemperatureV", "nvmlDeviceGetTemperature"):
        degrees = ask(nvml, function, handle, sensor)
        if degrees is not None:
            return int(degrees)
    return None


@functools.cache
def polling_session() -> tuple[Any, tuple[Any, ...]]:
    """NVML and a handle a card (``None`` for one that cannot be opened), kept open between polls."""
    nvml, _ = open_nvml()
    if nvml is None:
        return None, ()
    count = ask(nvml, "nvmlDeviceGetCount") or 0
    return nvml, tuple(ask(nvml, "nvmlDeviceGetHandleByIndex", index) for index in range(count))


def card_memory_used_bytes() -> tuple[int | None, ...]:
    """Used memory a card, cheap enough to ask every second; ``()`` without cards. Raises nothing.

    NVML stays initialised after the first call: starting it takes far longer than asking.
    """
    nvml, handles = polling_session()
    memories = [None if handle is None else ask(nvml, "nvmlDeviceGetMemoryInfo", handle) for handle in handles]
    return tuple(memory.used if memory else None for memory in memories)

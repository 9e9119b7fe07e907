"""A stand-in for the ``pynvml`` module, with the names, units and error classes of nvidia-ml-py 13."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

MIB = 1024**2
ERRORS = {
    "NotSupported": (3, "Not Supported"),
    "DriverNotLoaded": (9, "Driver Not Loaded"),
    "LibraryNotFound": (12, "NVML Shared Library Not Found"),
    "GpuIsLost": (15, "GPU is lost"),
    "Unknown": (999, "Unknown Error"),
}


def rig_card(index: int) -> dict[str, Any]:
    """What a 12 GB card on a mining riser answers; powers in milliwatts, as NVML gives them."""
    return {
        "nvmlDeviceGetUUID": f"GPU-{index:08d}",
        "nvmlDeviceGetName": "NVIDIA GeForce RTX 3060",
        "nvmlDeviceGetCudaComputeCapability": [8, 6],
        "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=12288 * MIB, used=300 * MIB, free=11988 * MIB),
        "nvmlDeviceGetCurrPcieLinkGeneration": 1,
        "nvmlDeviceGetMaxPcieLinkGeneration": 3,
        "nvmlDeviceGetCurrPcieLinkWidth": 1,
        "nvmlDeviceGetMaxPcieLinkWidth": 16,
        "nvmlDeviceGetPciInfo": SimpleNamespace(busId=f"00000000:{index + 1:02X}:00.0", busIdLegacy="", bus=index + 1),
        "nvmlDeviceGetTemperatureV": 41,
        "nvmlDeviceGetTemperature": 40,
        "nvmlDeviceGetPowerManagementLimit": 170000,
    }


class FakeNvml(ModuleType):
    """``cards`` maps a function to its answer, or to the name of the error that it raises; ``None`` is a lost card."""

    NVML_TEMPERATURE_GPU = 0
    NVMLError: type[Exception]

    def __init__(self, cards: list[dict[str, Any] | None], init_error: str | None = None) -> None:
        super().__init__("pynvml")
        self.cards = cards
        self.init_error = init_error
        self.open = 0
        self.calls: list[str] = []
        self.count_error: str | None = None

        class NVMLError(Exception):
            def __init__(self, value: int) -> None:
                super().__init__(value)
                self.value = value

            def __str__(self) -> str:
                return next(text for code, text in ERRORS.values() if code == self.value)

        self.NVMLError = NVMLError

    def error(self, name: str) -> Exception:
        return self.NVMLError(ERRORS[name][0])

    def nvmlInit(self) -> None:  # noqa: N802 - NVML's name
        self.calls.append("nvmlInit")
        if self.init_error:
            raise self.error(self.init_error)
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open -= 1

    def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802
        return "580.95.05"

    def nvmlSystemGetCudaDriverVersion(self) -> int:  # noqa: N802
        return 13000

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        if self.count_error:
            raise self.error(self.count_error)
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        if self.cards[index] is None:
            raise self.error("GpuIsLost")
        return index

    def __getattr__(self, function: str) -> Callable[..., Any]:
        if not function.startswith("nvmlDeviceGet") or not any(card and function in card for card in self.cards):
            raise AttributeError(function)

        def query(handle: int, *arguments: object) -> Any:
            if function.startswith("nvmlDeviceGetTemperature"):
                assert arguments == (self.NVML_TEMPERATURE_GPU,)
            else:
                assert arguments == ()
            card = self.cards[handle]
            assert card is not None
            answer = card[function]
            if isinstance(answer, str) and answer in ERRORS:
                raise self.error(answer)
            return answer

        return query

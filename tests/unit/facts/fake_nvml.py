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
        "nvmlDeviceGetPowerManagementDefaultLimit": 170000,
        "nvmlDeviceGetPowerManagementLimitConstraints": [100000, 212000],
        "nvmlDeviceGetTemperatureThreshold": 95,
        "nvmlDeviceGetPersistenceMode": 1,
        "nvmlDeviceGetComputeMode": 0,
        "nvmlDeviceGetComputeRunningProcesses": [],
        "nvmlDeviceGetCurrentClocksEventReasons": 1,
        "nvmlDeviceGetEccMode": "NotSupported",
        "nvmlDeviceGetTotalEccErrors": "NotSupported",
        "nvmlDeviceGetRetiredPagesPendingStatus": "NotSupported",
        "nvmlDeviceGetRemappedRows": "NotSupported",
    }


# What follows the handle. The numbers are NVML's: slowdown threshold; uncorrected errors since the driver started.
ARGUMENTS: dict[str, tuple[int, ...]] = {
    "nvmlDeviceGetTemperatureV": (0,),
    "nvmlDeviceGetTemperature": (0,),
    "nvmlDeviceGetTemperatureThreshold": (1,),
    "nvmlDeviceGetTotalEccErrors": (1, 0),
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
        self.driver = "580.95.05"
        self.cuda = 13000
        # NVML_P2P_STATUS_GPU_NOT_SUPPORTED, as cards for games answer.
        self.peer_status = 2

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
        return self.driver

    def nvmlSystemGetCudaDriverVersion(self) -> int:  # noqa: N802
        return self.cuda

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        if self.count_error:
            raise self.error(self.count_error)
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        if self.cards[index] is None:
            raise self.error("GpuIsLost")
        return index

    def nvmlDeviceGetP2PStatus(self, one: int, other: int, index: int) -> int:  # noqa: N802
        assert one != other
        assert index == 0, "the capability to read"
        return self.peer_status

    def __getattr__(self, function: str) -> Callable[..., Any]:
        if not function.startswith("nvmlDeviceGet") or not any(card and function in card for card in self.cards):
            raise AttributeError(function)

        def query(handle: int, *arguments: object) -> Any:
            assert arguments == ARGUMENTS.get(function, ())
            card = self.cards[handle]
            assert card is not None
            # One card may lack what another has.
            answer = card.get(function, "NotSupported")
            if isinstance(answer, str) and answer in ERRORS:
                raise self.error(answer)
            return answer

        return query


def structured(answers: dict[str, Any]) -> dict[str, Any]:
    """Objects become the structures that NVML gives; lists of them too."""
    return {name: as_structure(value) for name, value in answers.items()}


def as_structure(value: Any) -> Any:
    if isinstance(value, dict):
        return value["error"] if set(value) == {"error"} else SimpleNamespace(**value)
    if isinstance(value, list):
        return [as_structure(each) for each in value]
    return value

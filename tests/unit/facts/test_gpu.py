"""Card facts through a fake NVML: whole, partial, lost, and not there at all."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rigappliance.facts import gpu
from rigappliance.facts.cardhealth import SLOWED_BY, CardHealth, CardProcess
from rigappliance.facts.gpu import CardFacts, GpuFacts, card_memory_used_bytes, read_gpu_facts
from rigappliance.facts.peers import REASONS, PeerFacts
from tests.unit.facts.fake_nvml import ARGUMENTS, MIB, FakeNvml, rig_card, structured

Install = Callable[..., FakeNvml]
RECORDINGS = Path(__file__).resolve().parents[2] / "recordings"


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    def put(*cards: dict[str, Any] | None, init_error: str | None = None) -> FakeNvml:
        fake = FakeNvml(list(cards), init_error)
        monkeypatch.setitem(sys.modules, "pynvml", fake)
        gpu.polling_session.cache_clear()
        return fake

    yield put
    gpu.polling_session.cache_clear()


def test_eight_cards_on_risers(install: Install) -> None:
    fake = install(*(rig_card(i) for i in range(8)))
    facts = read_gpu_facts()
    assert (facts.driver_version, facts.cuda_version, facts.reason) == ("580.95.05", "13.0", None)
    assert [card.index for card in facts.cards] == list(range(8))
    assert facts.cards[2] == CardFacts(
        index=2,
        uuid="GPU-00000002",
        name="NVIDIA GeForce RTX 3060",
        compute_capability=(8, 6),
        memory_total_bytes=12288 * MIB,
        memory_used_bytes=300 * MIB,
        memory_free_bytes=11988 * MIB,
        pcie_generation=1,
        pcie_generation_max=3,
        pcie_width=1,
        pcie_width_max=16,
        bus_id="00000000:03:00.0",
        temperature_c=41,
        power_limit_w=170.0,
    )
    assert fake.open == 0, "NVML is closed again"


def test_what_a_real_driver_answers(install: Install) -> None:
    recorded = json.loads((RECORDINGS / "nvml-h100.json").read_text(encoding="utf-8"))
    structured = {name: SimpleNamespace(**v) if isinstance(v, dict) else v for name, v in recorded.items()}
    fake = install({name: value for name, value in structured.items() if name.startswith("nvmlDevice")})
    setattr(fake, "nvmlSystemGetDriverVersion", lambda: structured["nvmlSystemGetDriverVersion"])  # noqa: B010
    facts = read_gpu_facts()
    assert facts == GpuFacts(
        driver_version="580.159.04",
        cuda_version="13.0",
        cards=(
            CardFacts(
                index=0,
                uuid="GPU-00000000-0000-0000-0000-000000000000",
                name="NVIDIA H100 80GB HBM3",
                compute_capability=(9, 0),
                memory_total_bytes=85520809984,
                memory_used_bytes=503316480,
                memory_free_bytes=85017493504,
                pcie_generation=5,
                pcie_generation_max=5,
                pcie_width=16,
                pcie_width_max=16,
                bus_id="00000000:00:06.0",
                temperature_c=46,
                power_limit_w=700.0,
            ),
        ),
    )


# Nothing is wrong with it, and its health was not asked for.
LEFT_OUT = {"problem", "health"}
QUERIES = {
    "nvmlDeviceGetUUID": ("uuid",),
    "nvmlDeviceGetName": ("name",),
    "nvmlDeviceGetCudaComputeCapability": ("compute_capability",),
    "nvmlDeviceGetMemoryInfo": ("memory_total_bytes", "memory_used_bytes", "memory_free_bytes"),
    "nvmlDeviceGetCurrPcieLinkGeneration": ("pcie_generation",),
    "nvmlDeviceGetMaxPcieLinkGeneration": ("pcie_generation_max",),
    "nvmlDeviceGetCurrPcieLinkWidth": ("pcie_width",),
    "nvmlDeviceGetMaxPcieLinkWidth": ("pcie_width_max",),
    "nvmlDeviceGetPciInfo": ("bus_id",),
    "nvmlDeviceGetPowerManagementLimit": ("power_limit_w",),
}


@pytest.mark.parametrize("error", ["NotSupported", "GpuIsLost", "Unknown"])
@pytest.mark.parametrize("query", QUERIES)
def test_one_failed_query_leaves_one_field_unknown(install: Install, query: str, error: str) -> None:
    install(rig_card(0), {**rig_card(1), query: error})
    whole, partial = read_gpu_facts().cards
    unknown = {name for name, value in vars(partial).items() if value is None and name not in LEFT_OUT}
    assert unknown == set(QUERIES[query])
    assert None not in [value for name, value in vars(whole).items() if name not in LEFT_OUT]


def test_an_older_driver_tells_the_temperature_the_older_way(install: Install) -> None:
    install({**rig_card(0), "nvmlDeviceGetTemperatureV": "NotSupported"})
    assert read_gpu_facts().cards[0].temperature_c == 40
    old_binding = rig_card(0)
    del old_binding["nvmlDeviceGetTemperatureV"]
    install(old_binding)
    assert read_gpu_facts().cards[0].temperature_c == 40


def test_a_lost_card_says_so_and_the_others_answer(install: Install) -> None:
    install(rig_card(0), None, rig_card(2))
    cards = read_gpu_facts().cards
    assert cards[1] == CardFacts(1, problem="the driver cannot open it: GPU is lost")
    assert [card.problem is None for card in cards] == [True, False, True]


@pytest.mark.parametrize("error", ["LibraryNotFound", "DriverNotLoaded"])
def test_without_library_or_driver_there_is_a_reason(install: Install, error: str) -> None:
    fake = install(init_error=error)
    facts = read_gpu_facts()
    assert facts.cards == ()
    assert facts.reason == f"NVML does not start: {fake.error(error)}"


def test_without_the_binding_there_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert read_gpu_facts() == GpuFacts(reason="the Python package nvidia-ml-py is not installed")


def test_a_driver_without_a_card_has_a_version_and_a_reason(install: Install) -> None:
    install()
    facts = read_gpu_facts()
    assert facts.driver_version == "580.95.05"
    assert (facts.cards, facts.reason) == ((), "the driver sees no card")


def test_a_driver_that_cannot_count_has_a_reason(install: Install) -> None:
    install(rig_card(0)).count_error = "Unknown"
    assert read_gpu_facts().reason == "the driver does not say how many cards there are"


def test_polling_opens_nvml_once_and_follows_the_memory(install: Install) -> None:
    fake = install(rig_card(0), None, {**rig_card(2), "nvmlDeviceGetMemoryInfo": "GpuIsLost"})
    assert card_memory_used_bytes() == (300 * MIB, None, None)
    assert fake.cards[0] is not None
    fake.cards[0]["nvmlDeviceGetMemoryInfo"].used = 9000 * MIB
    assert card_memory_used_bytes() == (9000 * MIB, None, None)
    assert fake.calls == ["nvmlInit"]


def test_polling_without_cards_is_empty(install: Install) -> None:
    install(init_error="LibraryNotFound")
    assert card_memory_used_bytes() == ()


def test_the_real_binding_has_every_function_that_is_asked() -> None:
    import pynvml

    others = ("nvmlInit", "nvmlShutdown", "nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex", "nvmlDeviceGetP2PStatus")
    for function in (*rig_card(0), *others, "nvmlDeviceGetCurrentClocksThrottleReasons"):
        assert callable(getattr(pynvml, function)), function
    for function, arguments in ARGUMENTS.items():
        parameters = inspect.signature(getattr(pynvml, function)).parameters.values()
        assert sum(p.default is p.empty for p in parameters) == 1 + len(arguments), function
    # The binding's constant for the capability to read is a tuple by mistake.
    assert (pynvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN, pynvml.NVML_P2P_CAPS_INDEX_READ) == (1, (0,))
    assert (pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_VOLATILE_ECC, pynvml.NVML_P2P_STATUS_OK) == (1, 0, 0)
    assert (pynvml.NVML_COMPUTEMODE_PROHIBITED, pynvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS) == (2, 3)
    reasons = ("HwSlowdown", "SwThermalSlowdown", "HwThermalSlowdown", "HwPowerBrakeSlowdown")
    assert [getattr(pynvml, f"nvmlClocksEventReason{name}") for name in reasons] == list(SLOWED_BY)
    assert {name for name, _ in pynvml.c_nvmlMemory_t._fields_} == {"total", "free", "used"}
    assert "busId" in {name for name, _ in pynvml.nvmlPciInfo_t._fields_}
    for function in ("nvmlDeviceGetTemperature", "nvmlDeviceGetTemperatureV"):
        assert list(inspect.signature(getattr(pynvml, function)).parameters)[:2] == ["handle", "sensor"]


def test_this_machine_answers_without_raising() -> None:
    facts = read_gpu_facts()
    assert bool(facts.cards) is (facts.reason is None)


# --- health ----------------------------------------------------------------


def test_a_card_tells_how_it_is_only_when_asked(install: Install) -> None:
    install(rig_card(0))
    assert read_gpu_facts().cards[0].health is None
    assert read_gpu_facts(health=True).cards[0].health == CardHealth(
        processes=(),
        compute_mode="default",
        persistence=True,
        temperature_slowdown_c=95,
        power_default_w=170.0,
        power_least_w=100.0,
        power_most_w=212.0,
        slowed_by=(),
    )


def test_what_a_real_driver_answers_about_health(install: Install) -> None:
    recorded = json.loads((RECORDINGS / "machines/h100.json").read_text(encoding="utf-8"))["cards"]["all"]
    install(structured(recorded))
    assert read_gpu_facts(health=True).cards[0].health == CardHealth(
        processes=(),
        compute_mode="default",
        persistence=True,
        ecc=True,
        ecc_uncorrected=0,
        pages_pending=False,
        remap_failed=False,
        temperature_slowdown_c=89,
        power_default_w=700.0,
        power_least_w=200.0,
        power_most_w=700.0,
        slowed_by=(),
    )


@pytest.mark.parametrize(
    ("answers", "field", "value"),
    [
        ({"nvmlDeviceGetComputeMode": 3}, "compute_mode", "exclusive process"),
        ({"nvmlDeviceGetComputeMode": 9}, "compute_mode", "mode 9"),
        ({"nvmlDeviceGetPersistenceMode": 0}, "persistence", False),
        ({"nvmlDeviceGetPersistenceMode": "NotSupported"}, "persistence", None),
        ({"nvmlDeviceGetEccMode": [0, 1]}, "ecc", False),
        ({"nvmlDeviceGetTotalEccErrors": 4}, "ecc_uncorrected", 4),
        ({"nvmlDeviceGetRetiredPagesPendingStatus": 1}, "pages_pending", True),
        ({"nvmlDeviceGetRetiredPagesPendingStatus": 0}, "pages_pending", False),
        ({"nvmlDeviceGetRemappedRows": [0, 0, 1, 0]}, "pages_pending", True),
        ({"nvmlDeviceGetRemappedRows": [1, 1, 0, 1]}, "pages_pending", False),
        ({"nvmlDeviceGetRemappedRows": [0, 1, 0, 1]}, "remap_failed", True),
        ({"nvmlDeviceGetCurrentClocksEventReasons": 0xC8}, "slowed_by",
         ("hardware slowdown", "heat (hardware)", "the power supply")),
        ({"nvmlDeviceGetCurrentClocksEventReasons": 0x07}, "slowed_by", ()),
        ({"nvmlDeviceGetCurrentClocksEventReasons": "NotSupported"}, "slowed_by", None),
        ({"nvmlDeviceGetCurrentClocksEventReasons": "NotSupported", "nvmlDeviceGetCurrentClocksThrottleReasons": 0x20},
         "slowed_by", ("heat (driver)",)),
        ({"nvmlDeviceGetComputeRunningProcesses": "NotSupported"}, "processes", None),
    ],
)  # fmt: skip
def test_health_in_numbers_of_nvml(install: Install, answers: dict[str, Any], field: str, value: object) -> None:
    install({**rig_card(0), **answers})
    assert getattr(read_gpu_facts(health=True).cards[0].health, field) == value


def test_who_computes_on_a_card_has_a_name(install: Install) -> None:
    import os

    process = SimpleNamespace(pid=os.getpid(), usedGpuMemory=None)
    install({**rig_card(0), "nvmlDeviceGetComputeRunningProcesses": [process]})
    health = read_gpu_facts(health=True).cards[0].health
    assert health is not None
    assert health.processes is not None
    name = Path("/proc/self/comm").read_text(encoding="utf-8").strip()
    assert health.processes == (CardProcess(os.getpid(), name, None),)


@pytest.mark.parametrize(("status", "expected"), [(0, PeerFacts(3, 3)), (2, PeerFacts(3, 0, (REASONS[2],)))])
def test_peer_access_counts_each_pair_once_and_no_lost_card(install: Install, status: int, expected: PeerFacts) -> None:
    install(rig_card(0), None, rig_card(2), rig_card(3)).peer_status = status
    assert read_gpu_facts(health=True).peers == expected
    assert read_gpu_facts().peers is None

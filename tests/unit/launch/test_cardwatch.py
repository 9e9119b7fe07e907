"""Cards that are lost while an engine runs, by a stand-in for NVML."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from rigappliance.facts import gpu
from rigappliance.facts.gpu import CardFacts, GpuFacts
from rigappliance.launch import cardwatch


class NVMLError(Exception):
    def __init__(self, value: int, text: str) -> None:
        super().__init__(text)
        self.value = value


LOST, UNSUPPORTED = NVMLError(15, "GPU is lost"), NVMLError(3, "Not Supported")


def setup(monkeypatch: pytest.MonkeyPatch, handles: list[NVMLError | str | None], facts: GpuFacts) -> None:
    """``handles``: what each card answers when it is asked for its memory; None for one that was never open."""

    def answer(handle: object) -> object:
        if isinstance(handle, NVMLError):
            raise handle
        return handle

    nvml = SimpleNamespace(
        NVMLError=NVMLError, NVML_ERROR_NOT_SUPPORTED=3, NVML_ERROR_NO_PERMISSION=4, nvmlDeviceGetMemoryInfo=answer
    )
    monkeypatch.setattr(gpu, "polling_session", lambda: (nvml, tuple(handles)))
    monkeypatch.setattr(gpu, "read_gpu_facts", lambda: facts)


def healthy(count: int) -> GpuFacts:
    return GpuFacts(cards=tuple(CardFacts(index) for index in range(count)))


def test_healthy_cards_are_not_mentioned(monkeypatch: pytest.MonkeyPatch) -> None:
    setup(monkeypatch, ["fine", UNSUPPORTED, None], healthy(3))
    assert cardwatch.count_cards() == 2
    assert cardwatch.card_lines(2) == ()


def test_a_card_that_fell_off_the_bus(monkeypatch: pytest.MonkeyPatch) -> None:
    setup(monkeypatch, ["fine", LOST, "fine"], healthy(2))
    assert cardwatch.card_lines(3) == ("card 1: GPU is lost", "2 of 3 cards answer")


def test_a_card_that_cannot_be_opened_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = "the driver cannot open it: Unknown Error"
    setup(monkeypatch, ["fine"], GpuFacts(cards=(CardFacts(0), CardFacts(1, problem=problem))))
    assert cardwatch.card_lines(2) == (f"card 1: {problem}", "1 of 2 cards answer")


def test_a_driver_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    setup(monkeypatch, [LOST], GpuFacts(reason="NVML does not start: Driver Not Loaded"))
    lines = cardwatch.card_lines(1)
    assert lines[-1] == "0 of 1 cards answer: NVML does not start: Driver Not Loaded"

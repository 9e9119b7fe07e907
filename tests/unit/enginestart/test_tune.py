"""What is changed in the engine, and that it is left alone where it looks different."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from rigappliance.enginestart import tune


def module_with(default: object, recheck_ms: int | None = 5000) -> Any:
    class SpinCondition:
        def __init__(self, is_reader: bool, context: object, notify_address: str, busy_loop_s: Any = default) -> None:
            self.busy_loop_s = busy_loop_s

    more = {} if recheck_ms is None else {"SHM_READER_RECHECK_INTERVAL_MS": recheck_ms}
    return SimpleNamespace(SpinCondition=SpinCondition, **more)


def test_readers_spin_for_two_milliseconds_and_look_again_soon() -> None:
    module = module_with(1)
    assert list(tune.spin_less(module)) == []
    # A message that was dropped costs no more than this.
    assert module.SHM_READER_RECHECK_INTERVAL_MS == 20
    assert module.SpinCondition(True, None, "x").busy_loop_s == 0.002
    assert module.SpinCondition(True, None, "x", 5).busy_loop_s == 5


class Renamed:
    def __init__(self, is_reader: bool, spin_s: float = 1) -> None:
        self.spin_s = spin_s


@pytest.mark.parametrize(
    "module",
    [
        module_with(0.5),
        module_with(1, None),
        module_with(1, 1000),
        SimpleNamespace(),
        SimpleNamespace(SpinCondition=Renamed),
    ],
)
def test_another_condition_is_left_alone_and_that_is_said(module: Any) -> None:
    condition = vars(module).get("SpinCondition")
    defaults = vars(condition)["__init__"].__defaults__ if condition else None
    assert len(list(tune.spin_less(module))) == 1
    assert condition is None or vars(condition)["__init__"].__defaults__ == defaults


def test_memory_is_given_back_before_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    class Worker:
        def loop(self, times: int, *, name: str) -> str:
            order.append(f"loop {times} {name}")
            return "over"

    monkeypatch.setattr(tune, "trim", lambda: order.append("trim"))
    assert list(tune.before(Worker, "loop", tune.trim)) == []
    assert Worker().loop(2, name="a") == "over"
    assert order == ["trim", "loop 2 a"]


@pytest.mark.parametrize("holder", [None, SimpleNamespace()])
def test_a_loop_that_is_not_there_is_said(holder: Any) -> None:
    assert list(tune.before(holder, "loop", tune.trim)) == ["trim is not done when the engine is ready: it has no loop"]


@pytest.fixture
def thaw() -> Iterator[None]:
    unfreeze = gc.unfreeze
    yield
    gc.unfreeze = unfreeze
    gc.unfreeze()


@pytest.mark.usefixtures("thaw")
def test_what_is_frozen_stays_frozen() -> None:
    tune.keep_frozen()
    frozen = gc.get_freeze_count()
    assert frozen > 0
    gc.unfreeze()
    assert gc.get_freeze_count() == frozen

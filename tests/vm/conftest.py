"""Guests for tests: each gets one of its own, woken up from a state that all share."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from rigappliance.vmtest import Machine, Origin, booted, control_recipe, with_control

FAILED = pytest.StashKey[bool]()
CONSOLE_LINES = 40


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show a failed test's console, and keep its logs."""
    report = yield
    if report.failed:
        item.stash[FAILED] = True
        for argument in getattr(item, "funcargs", {}).values():
            if isinstance(argument, Machine):
                report.sections.append((f"console of {argument.name}", argument.console.tail(CONSOLE_LINES)))
                report.sections.append((f"logs of {argument.name}", str(argument.logs())))
    return report


@pytest.fixture(scope="session")
def guest() -> Origin:
    """A booted Debian, over the same image as ``control_guest``; the first run makes it, in a minute or two."""
    return booted(control_recipe())


@pytest.fixture(scope="session")
def control_guest() -> Origin:
    """A booted Debian in which the tree's rigappliance is installed."""
    return with_control()


@pytest.fixture
def machine(guest: Origin, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Machine]:
    """A machine that nothing has been done to."""
    made = Machine(guest, out_dir=tmp_path / "out")
    yield made
    made.release(keep_logs=request.node.stash.get(FAILED, False))

"""The real engine, and launches of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rigappliance.demo.checkpoint import write_checkpoint
from tests.engine.launching import EngineHome, Launch

# Its assertions say what was found, as those of tests do.
pytest.register_assert_rewrite("tests.engine.verdict")

ROOT = Path(__file__).resolve().parent.parent.parent
VARIABLE = "RIGAPPLIANCE_TEST_ENGINE_PYTHON"


@pytest.fixture(scope="session")
def engine_python() -> Path:
    """Interpreter of an environment with the CPU build of vLLM. Its absence is a failure, not a reason to skip."""
    python = Path(os.environ.get(VARIABLE) or ROOT / ".engine" / "bin" / "python")
    if not os.access(python, os.X_OK):
        pytest.fail(
            f"no engine at {python}: install it below the repository root as .engine, "
            f"set {VARIABLE} to another interpreter, or leave these tests out with -m 'not engine'",
            pytrace=False,
        )
    return python


@pytest.fixture(scope="session")
def home(engine_python: Path, tmp_path_factory: pytest.TempPathFactory) -> EngineHome:
    root = tmp_path_factory.mktemp("engine")
    write_checkpoint(root / "checkpoint")
    return EngineHome(root, engine_python, root / "checkpoint")


@pytest.fixture
def launch(home: EngineHome) -> Iterator[Callable[..., Launch]]:
    """Starts launches, and ends what a failed test left running."""
    started: list[Launch] = []

    def start(*arguments: str, environment: dict[str, str] | None = None, **times: str) -> Launch:
        started.append(Launch(home, home.config(**times), *arguments, environment=environment))
        return started[-1]

    yield start
    for one in started:
        one.end()

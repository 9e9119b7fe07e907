"""Where the real engine is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

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

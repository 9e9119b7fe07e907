"""An engine whose process may not be forked starts as the stock one does, and serves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.engine.launching import Launch

pytestmark = pytest.mark.engine

# A thread of no interpreter's, as libraries have them, in each process of the engine.
WITH_A_THREAD = """
import ctypes
library = ctypes.CDLL(None)
library.pthread_create(ctypes.byref(ctypes.c_ulong()), None, ctypes.cast(library.pause, ctypes.c_void_p), None)
"""


def test_a_librarys_thread_keeps_the_engine_from_forking_and_not_from_serving(
    tmp_path: Path, launch: Callable[..., Launch]
) -> None:
    (tmp_path / "sitecustomize.py").write_text(WITH_A_THREAD)
    one = launch(environment={"PYTHONPATH": str(tmp_path)})
    one.wait_ready()
    log = (one.home.state_dir / "engine.log").read_text()
    assert "as the stock engine does: 1 threads of libraries outlive a fork, names of all: python" in log
    assert one.stop() == 0

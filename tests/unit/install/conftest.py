from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.install.machine import Machine


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    for variable in [name for name in os.environ if "RIGAPPLIANCE_" in name]:
        monkeypatch.delenv(variable)
    before = os.umask(0o022)
    (tmp_path / "root").mkdir()
    yield Machine(tmp_path / "root")
    os.umask(before)

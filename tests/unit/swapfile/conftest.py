from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.swapfile.host import Host


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    host = Host(tmp_path, monkeypatch)
    host.small_steps()
    yield host
    # Some MiB a test, which pytest would keep for three runs.
    shutil.rmtree(host.directory, ignore_errors=True)

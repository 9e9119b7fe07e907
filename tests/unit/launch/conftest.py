"""Whole launches of the stand-in that end with their test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.launch.rig import Rig, make_engine


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("engine")
    make_engine(directory)
    return directory


@pytest.fixture
def rig(tmp_path: Path, engine: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path, engine)
    yield rig
    rig.end()

"""Stand-ins that end with their test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rigappliance.demo.checkpoint import write_checkpoint
from tests.standin import Standin
from tests.unit.place import SHAPE


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("standin") / "tiny"
    write_checkpoint(directory, SHAPE)
    return directory


@pytest.fixture
def standin(tmp_path: Path, checkpoint: Path) -> Iterator[Callable[..., Standin]]:
    made: list[Standin] = []

    def make(*options: str, model: Path = checkpoint, **environment: str) -> Standin:
        made.append(Standin(tmp_path, model, *options, **environment))
        return made[-1]

    yield make
    for one in made:
        one.end()

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.unit.bench_verb.place import Measured


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Measured]:
    with ExitStack() as stack:
        made = Measured(tmp_path, stack)
        made.prepare()
        yield made

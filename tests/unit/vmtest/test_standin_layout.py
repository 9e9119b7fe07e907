"""An environment in which the stand-in is the engine's interpreter."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from rigappliance import ENGINE_VERSION
from rigappliance.config import EngineConfig
from rigappliance.preflight.engine import check_engine
from rigappliance.vmtest.standin.layout import VERSION, lay_out
from tests.standin import RECORDINGS


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("layout")
    lay_out(directory / "made", sys.executable, RECORDINGS)
    # Where it is made and where it is used are two places.
    return (directory / "made").rename(directory / "used with a space")


def test_preflight_takes_it_for_the_engine(engine: Path) -> None:
    assert VERSION == ENGINE_VERSION
    config = EngineConfig(python=engine / "bin/python", entrypoint="module", device="cpu")
    assert [finding.severity for finding in check_engine(config)] == ["ok"] * 4


def test_it_runs_where_it_was_moved_to_without_the_package(engine: Path) -> None:
    for style in (["-m", "vllm.entrypoints.openai.api_server", "--model", "/nowhere"], ["serve", "/nowhere"]):
        program = engine / "bin" / ("vllm" if style[0] == "serve" else "python")
        done = subprocess.run([program, *style, "--port", "1"], capture_output=True, text=True, cwd="/", env={})
        # The recordings are found as well: a model that is not there is refused in the real engine's words.
        assert done.returncode == 1
        assert "'/nowhere'" in done.stderr + done.stdout
        assert "Repo id must be in the form" in done.stderr


def test_it_is_quick_to_start(engine: Path) -> None:
    command = [str(engine / "bin/python"), "--help"]
    subprocess.run(command, check=True, capture_output=True)
    began = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    assert time.monotonic() - began < 1
    source = "import sys, standin.run; print(*sys.modules)"
    shown = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(engine / 'lib')!r}); {source}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    # Each costs a tenth of a second and more where the processor is emulated.
    slow = {"argparse", "asyncio", "dataclasses", "email", "http.client", "inspect", "logging", "subprocess", "shutil"}
    assert slow & set(shown.stdout.split()) == set()

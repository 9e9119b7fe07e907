"""`rigappliance bench --start`: an engine of its own, and its end."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rigappliance.errors import ExitCode
from rigappliance.launch.engineprocess import RUN_ID
from rigappliance.launch.proctree import with_environment
from tests.standin import wait_until
from tests.unit.bench_verb.place import tell, write_client
from tests.unit.launch.rig import Rig, make_engine


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """The stand-in as the engine's interpreter, but for the benchmark client."""
    make_engine(tmp_path)
    package = tmp_path / "package/vllm"
    write_client(package)
    tell(package)
    python = tmp_path / "engine/bin/python"
    client = f'PYTHONPATH="{package.parent}" exec "{sys.executable}" -B -S "$@"'
    first, _, rest = python.read_text().partition("\n")
    python.write_text(f"{first}\ncase $1 in */client.py) {client} ;; esac\n{rest}")
    rig = Rig(tmp_path, tmp_path)
    yield rig
    rig.end()


def nothing_runs(rig: Rig) -> bool:
    return not with_environment(f"{RUN_ID}={rig.started_ids()}")


def test_the_start_is_measured_and_the_engine_stopped(rig: Rig) -> None:
    assert rig.run("bench", "--start", "--quick", "--json") == ExitCode.OK, rig.errors("bench")
    content = json.loads(rig.output("bench"))
    assert content["complete"] is True
    state = rig.directory.peek()
    assert state is not None and state.ready_after_s is not None and state.exit_code == ExitCode.OK
    seconds = {part["name"]: part["seconds"] for part in content["starts"]}
    assert seconds["start"] == pytest.approx(state.ready_after_s, abs=0.5)
    assert content["phases_s"]["weights"] == pytest.approx(seconds["load"])
    assert nothing_runs(rig)


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, int(ExitCode.INTERRUPTED)), (signal.SIGKILL, -9)])
def test_whatever_ends_it_while_it_starts_ends_the_engine(rig: Rig, signum: signal.Signals, code: int) -> None:
    # Half a minute until it would be ready.
    rig.tell(pace=1.0)
    process = rig.start("bench", "--start")

    def starting() -> bool:
        state = rig.directory.peek()
        return state is not None and state.phase == "config"

    wait_until(starting)
    process.send_signal(signum)
    assert process.wait(20) == code
    wait_until(lambda: nothing_runs(rig))

"""The real engine's caches: kept by one start, damaged, named and made anew by the next, which answers as before."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rigappliance.caches.bundle import sealed
from rigappliance.caches.tree import verify
from rigappliance.demo.checkpoint import ANSWER
from rigappliance.endpoint import Endpoint, stream_chat
from rigappliance.errors import ExitCode, PreflightError
from tests.engine.launching import NOTHING, EngineHome, Launch
from tests.faults import record
from tests.standin import wait_until

pytestmark = pytest.mark.engine


def whole(active: Path) -> bool:
    """Whether every file is vouched for, and as it was then."""
    try:
        manifest = sealed(active)
    except PreflightError:
        return False
    verdict = verify(active, manifest, digest_limit_bytes=manifest.size_bytes)
    return not verdict.damages and not verdict.stray


@pytest.fixture
def active(home: EngineHome, launch: Callable[..., Launch]) -> Path:
    """The caches of the starts before; filled by one where there was none."""
    active = home.state_dir / "cache"
    if not (active / "manifest.json").exists():
        filling = launch()
        filling.wait_ready()
        assert filling.stop() == 0
    assert whole(active)
    return active


def answer(home: EngineHome) -> str:
    """To the demo's question, as the checkpoint was made to answer it."""
    chunks = stream_chat(Endpoint("127.0.0.1", home.port), "tiny-qwen2", "Is the rig ready?", 64, 60.0)
    return "".join(chunk.text for chunk in chunks)


def flipped(path: Path) -> None:
    """One bit, with the file's times as they were: as a disk does it."""
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def emptied(path: Path) -> None:
    os.truncate(path, 0)


def named_moved_and_made_anew(fault: str, damaged: Path, words: str, active: Path, one: Launch) -> None:
    """``one`` is a launch on ``damaged``, one of the caches' files."""
    spoilt = damaged.read_bytes() if damaged.exists() else b""
    one.wait_ready()
    line = next(line for line in one.errors().splitlines() if words in line)
    name = damaged.relative_to(active)
    assert str(name) in line and "moved to" in line
    assert answer(one.home) == ANSWER
    # The seal follows readiness.
    wait_until(lambda: whole(active))
    assert one.stop() == 0
    assert one.leftovers() == NOTHING
    assert whole(active)
    assert (active / "aside" / name).read_bytes() == spoilt != (damaged.read_bytes() if damaged.exists() else b"-")
    record(
        fault,
        cause="caches (before the start)",
        evidence=line.removeprefix("rigappliance: "),
        decision="moved aside; this start compiles it anew",
        seconds=None,
    )


def test_a_flipped_bit_is_named_and_never_read_by_the_engine(active: Path, launch: Callable[..., Launch]) -> None:
    """In what is soonest made anew: 15 s."""
    damaged = max((active / "vllm").rglob("*.json"), key=lambda path: path.stat().st_size)
    flipped(damaged)
    named_moved_and_made_anew("a flipped bit in what the engine keeps", damaged, "another content", active, launch())


@pytest.mark.fault
@pytest.mark.parametrize(
    ("damage", "words"), [(flipped, "another content"), (truncated, "bytes of"), (emptied, "has 0 bytes of")]
)
def test_a_damaged_library_is_named_and_never_run(
    damage: Callable[[Path], None], words: str, active: Path, launch: Callable[..., Launch]
) -> None:
    library = max(active.glob("inductor/**/*.main.so"), key=lambda path: path.stat().st_size)
    damage(library)
    fault = f"a compiled library in the caches {damage.__name__}"
    named_moved_and_made_anew(fault, library, words, active, launch())


@pytest.mark.fault
def test_caches_on_a_disk_that_is_not_there_refuse_the_start(
    active: Path, tmp_path: Path, launch: Callable[..., Launch]
) -> None:
    """The engine would fail at them after loading the weights."""
    state = tmp_path / "state"
    state.mkdir()
    (state / "cache").symlink_to("/media/unplugged/cache")
    one = launch(environment={"RIGAPPLIANCE_STATE_DIR": str(state)})
    assert one.process.wait(60) == ExitCode.PREFLIGHT
    assert "cache is no directory" in one.errors()
    assert one.leftovers() == NOTHING
    record(
        "caches on a disk that is not there",
        cause="caches (before the start)",
        evidence=one.errors().splitlines()[0].removeprefix("rigappliance: "),
        decision=f"refused before the start (exit code {ExitCode.PREFLIGHT})",
        seconds=None,
    )

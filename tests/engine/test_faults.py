"""Faults that take a start of the real engine each: what it dies of, under its right name.

They are for `make faults`; each costs half a minute to two.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from rigappliance.demo.checkpoint import TinyQwen2, write_checkpoint
from tests.engine.damage import (
    Damage,
    absurd_header_length,
    configured,
    damaged,
    flipped_header,
    missing_shard,
    missing_tokenizer,
)
from tests.engine.launching import EngineHome, Launch
from tests.engine.verdict import verdict
from tests.faults import record

pytestmark = [pytest.mark.engine, pytest.mark.fault]

CHECKPOINT = "RIGAPPLIANCE_MODEL__PATH"


@dataclass(frozen=True)
class Fault:
    """``words`` are of the engine's own, and must be in the evidence."""

    name: str
    cause: str
    words: str
    damage: Damage


CHECKPOINTS = (
    Fault("flipped byte in a shard's header", "checkpoint-corrupt", "header is damaged", flipped_header),
    Fault("absurd header length of a shard", "checkpoint-corrupt", "header is damaged", absurd_header_length),
    Fault("shard missing that the index names", "checkpoint-missing", "00002-of-00003", missing_shard),
    Fault(
        "weights of another shape than config.json says",
        "checkpoint-unsupported",
        "512",
        configured(hidden_size=512),
    ),
    Fault(
        "quantisation that the engine does not know",
        "checkpoint-unsupported",
        "foo",
        configured(quantization_config={"quant_method": "foo", "bits": 8}),
    ),
    # The engine comes up without it, and then refuses every prompt.
    Fault("tokenizer missing", "tokenizer-missing", "400", missing_tokenizer),
)


@pytest.mark.parametrize("fault", CHECKPOINTS, ids=lambda fault: fault.name)
def test_a_damaged_checkpoint_is_named(fault: Fault, tmp_path: Path, launch: Callable[..., Launch]) -> None:
    checkpoint = damaged(tmp_path / "damaged", fault.damage)
    one = launch("--force", environment={CHECKPOINT: str(checkpoint)})
    ended = verdict(one, fault.cause, fault.name, one.started_s)
    assert any(fault.words in text for text in ended.evidence), ended.evidence


def test_a_head_size_that_only_the_first_request_refuses(tmp_path: Path, launch: Callable[..., Launch]) -> None:
    write_checkpoint(tmp_path / "heads", TinyQwen2(hidden_size=64))
    one = launch("--force", environment={CHECKPOINT: str(tmp_path / "heads")})
    ended = verdict(
        one, "checkpoint-unsupported", "head size that the engine refuses at the first request", one.started_s
    )
    assert any("head_dim=16" in text for text in ended.evidence)


def test_weights_are_not_loaded_in_vain_twice(launch: Callable[..., Launch], home: EngineHome) -> None:
    """The whole start up to the KV cache is paid once; the next is refused until the declaration changes."""
    small = {"RIGAPPLIANCE_ENGINE__KV_CACHE_MEMORY": "1MiB"}
    one = launch(environment=small)
    verdict(one, "kv-cache-too-small", "KV cache too small for the declared length", one.started_s)
    state = one.own_state()
    assert state and state["loaded"]

    two = launch(environment=small)
    assert two.process.wait(20) == 34
    seconds = time.monotonic() - two.started_s
    assert seconds < 5
    assert "kv-cache-too-small" in two.errors()
    assert two.own_state() is None  # nothing was started, so the state is still the first one's
    record(
        "the same start again after weights loaded in vain",
        cause="kv-cache-too-small",
        evidence=two.errors().splitlines()[0].removeprefix("rigappliance: "),
        decision="refused before the start (exit code 34)",
        seconds=seconds,
    )

    three = launch()
    three.wait_ready()
    assert three.stop() == 0


@dataclass(frozen=True)
class Signal:
    name: str
    signum: signal.Signals
    cause: str
    settings: dict[str, str] = field(default_factory=dict)


@pytest.mark.parametrize(
    "fault",
    [
        Signal("SIGSEGV of the worker while serving", signal.SIGSEGV, "part-crashed"),
        # The engine's own limit runs out first: the probe has more patience than a step may take.
        Signal(
            "SIGSTOP of the worker, step limit shorter than the probe's",
            signal.SIGSTOP,
            "engine-timed-out",
            {"RIGAPPLIANCE_ENGINE__STEP_TIMEOUT": "5s"},
        ),
    ],
    ids=lambda fault: fault.name,
)
def test_what_happens_to_a_serving_worker_is_named(fault: Signal, launch: Callable[..., Launch]) -> None:
    one = launch(environment=fault.settings, probe_interval="2s", probe_timeout="40s")
    one.wait_ready()
    os.kill(one.part("Worker"), fault.signum)
    verdict(one, fault.cause, fault.name, time.monotonic())


def test_a_worker_killed_while_it_loads_is_named(launch: Callable[..., Launch]) -> None:
    one = launch()
    one.wait_phase("weights")
    os.kill(one.part("Worker"), signal.SIGKILL)
    verdict(one, "part-killed", "kill -9 of the worker while it loads", time.monotonic())


def test_a_missing_compiler_is_named(tmp_path: Path, home: EngineHome) -> None:
    """With caches of its own, since compiled ones would do without."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "lscpu", "uname"):
        (programs / name).symlink_to(f"/usr/bin/{name}")
    bare = EngineHome(tmp_path, home.python, home.checkpoint)
    one = Launch(bare, bare.config(), "--force", environment={"PATH": str(programs)})
    try:
        verdict(one, "jit-no-compiler", "no C++ compiler", one.started_s)
    finally:
        one.end()

"""Starts of the real engine that cannot work: named at once where the facts say so, and after the fact otherwise."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.engine.damage import Damage, configured, cut_tokenizer, damaged, truncated
from tests.engine.illegal import executes_ud2
from tests.engine.launching import NOTHING, EngineHome, Launch
from tests.engine.verdict import lost, verdict
from tests.faults import record

pytestmark = pytest.mark.engine

CHECKPOINT = "RIGAPPLIANCE_MODEL__PATH"


def refused(config: Path, environment: dict[str, str]) -> tuple[int, str, float]:
    """Exit code and words of a launch that must not start anything, and the seconds that it took."""
    command = [sys.executable, "-m", "rigappliance", "launch", "-c", str(config)]
    started_s = time.monotonic()
    done = subprocess.run(
        command, env={"PATH": "/usr/bin:/bin", **environment}, capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stderr, time.monotonic() - started_s


def test_a_truncated_shard_is_refused_before_the_start(tmp_path: Path, home: EngineHome) -> None:
    checkpoint = damaged(tmp_path / "truncated", truncated)
    code, errors, seconds = refused(home.config(), {CHECKPOINT: str(checkpoint)})
    assert code == 4
    named = next(line for line in errors.splitlines() if "model-00002-of-00003.safetensors" in line)
    record(
        "truncated shard",
        cause="checkpoint (preflight)",
        evidence=named.strip(),
        decision=f"refused before the start (exit code {code})",
        seconds=seconds,
    )


def test_a_forced_start_of_it_fails_with_the_engines_own_cause(tmp_path: Path, launch: Callable[..., Launch]) -> None:
    checkpoint = damaged(tmp_path / "truncated", truncated)
    one = launch("--force", environment={CHECKPOINT: str(checkpoint)})
    verdict(one, "checkpoint-truncated", "truncated shard, started by force", one.started_s)
    errors = one.errors()
    assert "started by force although" in errors
    assert "rigappliance loader: model-00002-of-00003.safetensors: tensor " in errors
    assert "the file ends at byte" in errors
    assert "during weights" in errors


@pytest.mark.parametrize(
    ("fault", "damage", "cause", "words"),
    [
        ("model type that transformers does not know", configured(model_type="quux"), "checkpoint-unsupported", "quux"),
        ("cut tokenizer.json", cut_tokenizer, "checkpoint-corrupt", "JSONDecodeError"),
    ],
    ids=["model type", "tokenizer"],
)
def test_what_the_engine_says_of_a_checkpoint_is_named(
    fault: str, damage: Damage, cause: str, words: str, tmp_path: Path, launch: Callable[..., Launch]
) -> None:
    one = launch("--force", environment={CHECKPOINT: str(damaged(tmp_path / "damaged", damage))})
    ended = verdict(one, cause, fault, one.started_s)
    assert any(words in text for text in ended.evidence)


def test_a_known_failure_is_not_repeated_until_something_changes(
    tmp_path: Path, home: EngineHome, launch: Callable[..., Launch]
) -> None:
    checkpoint = damaged(tmp_path / "foreign", configured(architectures=["LlamaForFoo"]))
    environment = {CHECKPOINT: str(checkpoint)}
    # The checks see it too.
    one = launch("--force", environment=environment)
    ended = verdict(one, "checkpoint-unsupported", "architecture that the engine does not know", one.started_s)
    assert any("LlamaForFoo" in text for text in ended.evidence)

    before = home.records("failures.jsonl")
    code, errors, seconds = refused(home.config(), environment)
    assert code == 64
    assert "checkpoint-unsupported" in errors and "--force" in errors
    assert seconds < 5  # the interpreter's start included; the engine alone would need longer to import itself
    assert home.records("failures.jsonl") == before

    configured(architectures=["Qwen2ForCausalLM"])(checkpoint)
    two = launch(environment=environment)
    two.wait_phase("config")
    assert two.stop() == 130
    assert two.leftovers() == NOTHING
    record(
        "the same start again, nothing changed since",
        cause="checkpoint-unsupported",
        evidence=next(line for line in errors.splitlines() if "checkpoint-unsupported" in line).strip(),
        decision=f"refused before the start (exit code {code})",
        seconds=seconds,
    )


def test_a_library_built_for_another_processor_is_named(tmp_path: Path, launch: Callable[..., Launch]) -> None:
    library = executes_ud2(tmp_path / "libkernels-avx2.so", within="api_server")
    one = launch(environment={"RIGAPPLIANCE_ENGINE__ENVIRONMENT__LD_PRELOAD": str(library)})
    verdict(one, "illegal-instruction", "library with an instruction that the processor lacks", one.started_s)


def test_a_port_that_is_taken_meanwhile_is_named(launch: Callable[..., Launch], home: EngineHome) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        one = launch("--force", environment={"RIGAPPLIANCE_SERVER__PORT": str(port)})
        verdict(one, "port-taken", "port taken, started by force", one.started_s)


@pytest.mark.parametrize("phase", ["process start", "workers", "compile"])
def test_a_stop_during_a_start_leaves_nothing(phase: str, launch: Callable[..., Launch], home: EngineHome) -> None:
    one = launch()
    failures = home.records("failures.jsonl")
    one.wait_state(lambda state: state["engine_pid"] and any(each["name"] == phase for each in state["phases"]))
    asked_s = time.monotonic()
    assert one.stop(signal.SIGINT if phase == "workers" else signal.SIGTERM) == 130
    seconds = time.monotonic() - asked_s
    assert f"during {phase}, before it was ready" in one.errors()
    assert one.leftovers() == NOTHING
    assert home.records("failures.jsonl") == failures
    assert lost(one) == ""
    state = one.own_state()
    record(
        f"stop during {phase}",
        cause="stopped",
        evidence=state["message"] if state else "",
        decision="none needed (exit code 130)",
        seconds=seconds,
    )

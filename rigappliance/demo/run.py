"""The demo: the verbs that an operator would type, one after the other, and a report."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from rigappliance.config import RigConfig
from rigappliance.configfile import load_config
from rigappliance.demo.checkpoint import ANSWER, write_checkpoint
from rigappliance.demo.report import Report, show
from rigappliance.endpoint import endpoint_of, stream_chat
from rigappliance.errors import DiedError, ExitCode, PreflightError, StartFailedError
from rigappliance.launch.leftovers import shared_memory_names
from rigappliance.launch.proctree import with_environment
from rigappliance.launch.state import StartState, StateDirectory
from rigappliance.launch.treememory import tree_memory
from rigappliance.preflight import raise_on_failure, run_checks
from rigappliance.render.vllm import render

PROMPT = "Say something true about yourself."
# Long enough to measure a rate, short enough to be over in a second.
RATE_TOKENS = 256
POLL_S = 0.1


def run_demo(port: int | None, engine_python: Path | None, picture: Path | None, as_json: bool) -> int:
    """Raises ``RigError`` of the step that fails."""
    started = time.monotonic()
    config = demo_config(port, engine_python)
    say = (lambda text: click.echo(text, err=True)) if as_json else click.echo

    if (config.model.path / "model.safetensors.index.json").exists():
        say(f"checkpoint  {config.model.path} is there already")
    else:
        try:
            size = write_checkpoint(config.model.path)
        except OSError as error:
            raise PreflightError(
                f"cannot write {config.model.path}: {error.strerror}",
                "a working directory that this user can write, with 10 MB free",
                "change to another directory",
            ) from error
        say(f"checkpoint  made {config.model.path}: {size / 1e6:.1f} MB, random weights around one known answer")
    findings = run_checks(config)
    raise_on_failure(findings)
    say(f"check       {len(findings)} checks, {sum(f.severity == 'warn' for f in findings)} warnings")
    say(f"render      {' '.join(render(config).argv)}")
    say("launch      the engine's own log is in " + str(config.state_dir / "engine.log"))

    before = shared_memory_names()
    child = start_launch(config, as_json)
    try:
        state = wait_ready(config, child)
        processes = tree_memory(state.engine_pid or 0)
        answer = ask(config, PROMPT, 128)
        rate = ask(config, "Count.", RATE_TOKENS, ignore_end=True)
        stopping = time.monotonic()
        child.send_signal(signal.SIGTERM)
        code = child.wait()
    except BaseException:
        child.send_signal(signal.SIGTERM)
        child.wait()
        raise
    if code != ExitCode.OK:
        raise DiedError(f"launch ended with exit code {code}", "0", "read the engine's log")

    report = Report(
        answer=answer.text,
        answer_is_right=answer.text == ANSWER,
        time_to_ready_s=(state.ready or 0.0) - state.started,
        phases=[(p.name, (p.ended or 0.0) - p.started) for p in state.phases if p.ended],
        processes=processes,
        completion_tokens=answer.tokens,
        first_token_s=answer.first_s,
        tokens_per_s=rate.tokens_per_s,
        stop_s=time.monotonic() - stopping,
        left_processes=len(with_environment(f"RIGAPPLIANCE_RUN_ID={state.run_id}")),
        left_shared_memory=len(shared_memory_names() - before),
        total_s=time.monotonic() - started,
    )
    if as_json:
        click.echo(json.dumps(asdict(report)))
    else:
        show(report, picture)
    clean = report.answer_is_right and not report.left_processes and not report.left_shared_memory
    return int(ExitCode.OK if clean else ExitCode.INTERNAL)


def demo_config(port: int | None, engine_python: Path | None) -> RigConfig:
    overrides = {"RIGAPPLIANCE_SERVER__PORT": str(port or free_port())}
    if engine_python is not None:
        overrides["RIGAPPLIANCE_ENGINE__PYTHON"] = str(engine_python.absolute())
    return load_config(profile="demo", environ={**os.environ, **overrides})


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def start_launch(config: RigConfig, as_json: bool) -> subprocess.Popen[bytes]:
    """``rigappliance launch`` in a process of its own, told by the environment what the demo decided."""
    terminal = sys.stdout.isatty() and not as_json
    environment = {
        **os.environ,
        "RIGAPPLIANCE_SERVER__PORT": str(config.server.port),
        "RIGAPPLIANCE_ENGINE__PYTHON": str(config.engine.python),
    }
    # Off a terminal the engine's log would bury the report; it is in the state directory anyway.
    output = None if terminal else subprocess.DEVNULL
    return subprocess.Popen(
        [sys.executable, "-m", "rigappliance", "launch", "--profile", "demo"], env=environment, stdout=output
    )


def wait_ready(config: RigConfig, child: subprocess.Popen[bytes]) -> StartState:
    """The state of the launch once it is ready. Raises ``StartFailedError``."""
    directory = StateDirectory(config.state_dir)
    while True:
        code = child.poll()
        state = directory.peek()
        if state and state.supervisor_pid == child.pid and state.ready:
            return state
        if code is not None:
            raise StartFailedError(
                f"launch ended with exit code {code}: {state.message if state else 'no state'}",
                "a ready engine",
                f"read {directory.log_file}",
            )
        time.sleep(POLL_S)


@dataclass(frozen=True)
class Answer:
    text: str
    tokens: int
    first_s: float
    tokens_per_s: float


def ask(config: RigConfig, prompt: str, max_tokens: int, *, ignore_end: bool = False) -> Answer:
    """One streamed answer; ``ignore_end`` makes it ``max_tokens`` long whatever the model says."""
    started = time.monotonic()
    parts, tokens, first_s = [], 0, 0.0
    extra: dict[str, object] = {"ignore_eos": True} if ignore_end else {}
    for chunk in stream_chat(endpoint_of(config), config.model.name, prompt, max_tokens, 60.0, extra=extra):
        if chunk.text and not first_s:
            first_s = time.monotonic() - started
        parts.append(chunk.text)
        tokens = chunk.completion_tokens or tokens
    decode_s = max(time.monotonic() - started - first_s, 1e-9)
    return Answer("".join(parts), tokens, first_s, (tokens - 1) / decode_s)

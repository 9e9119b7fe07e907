"""Our side of the engine's benchmark client: it is started once, asked for measurements, and ended."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from rigappliance.endpoint import Endpoint
from rigappliance.errors import EngineMissingError, RequestFailedError
from rigappliance.measure.figures import Sample, sample_of
from rigappliance.measure.orphans import signalled_with_parent

CLIENT = Path(__file__).with_name("client.py")
# How often the engine is looked at while a measurement goes on.
LOOK_S = 0.5
END_S = 5.0
LOG_LINES = 3


@dataclass(frozen=True)
class Job:
    """``requests`` requests, ``concurrency`` of them at a time, each of so many tokens in and out."""

    concurrency: int
    requests: int
    input_tokens: int
    output_tokens: int


class Session:
    """One client. ``alive`` raises when the engine has ended; it is called while a measurement goes on."""

    def __init__(
        self, python: Path, endpoint: Endpoint, model: str, tokenizer: Path, directory: Path, alive: Callable[[], None]
    ) -> None:
        self.endpoint, self.model, self.tokenizer = endpoint, model, tokenizer
        self.directory, self.alive = directory, alive
        self.peak_bytes = 0
        self._jobs = 0
        # Distinct prompts in every measurement: what the engine has seen before it answers from its prefix cache.
        self._seed = int(time.time()) % 1_000_000_000
        self._log = (directory / "client.log").open("wb")
        try:
            self._process = subprocess.Popen(
                [str(python), str(CLIENT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log,
                env=environment(os.environ, endpoint, directory), cwd=directory, start_new_session=True,
                preexec_fn=signalled_with_parent(signal.SIGKILL),
            )  # fmt: skip
        except OSError as error:
            self._log.close()
            raise EngineMissingError(
                f"cannot run {python}: {error.strerror}", "the engine's interpreter", "correct engine.python"
            ) from error

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        # Nothing of it is worth waiting for, and it may hang on a server that does.
        self._process.kill()
        self._process.communicate()
        self._log.close()

    def open(self) -> None:
        """Wait until it is there. Raises ``EngineMissingError`` where the engine comes without it."""
        reply = self._reply()
        if reason := reply.get("missing"):
            raise EngineMissingError(
                f"the engine's benchmark client is not there: {reason}",
                "vllm.benchmarks in the engine's environment",
                "install the engine as it is locked, with all its packages",
            )

    def measure(self, job: Job) -> Sample:
        """Raises ``RequestFailedError`` where requests fail, and what ``alive`` raises."""
        self._jobs += 1
        result = self.directory / f"result-{self._jobs}.json"
        line = json.dumps(self.arguments(job, result)) + "\n"
        stdin = self._process.stdin
        assert stdin is not None  # noqa: S101 a pipe was asked for
        try:
            stdin.write(line.encode())
            stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None
        reply = self._reply()
        if reason := reply.get("error"):
            raise RequestFailedError(
                f"the benchmark client failed: {reason}", "a measurement", "see `rigappliance status`"
            )
        self.peak_bytes = max(self.peak_bytes, int(reply["peak_bytes"]))
        try:
            content = json.loads(result.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RequestFailedError(
                f"the benchmark client left no result: {error}", "a JSON file of figures", "run it again"
            ) from error
        return sample_of(content, seconds=float(reply["seconds"]), cpu_s=float(reply["cpu_s"]))

    def arguments(self, job: Job, result: Path) -> list[str]:
        """Of ``vllm bench serve``. The key is in the environment, where no list of processes shows it."""
        return [
            "--backend", "openai", "--base-url", self.endpoint.url, "--endpoint", "/v1/completions",
            "--model", self.model, "--tokenizer", str(self.tokenizer.absolute()),
            "--dataset-name", "random", "--random-input-len", str(job.input_tokens),
            "--random-output-len", str(job.output_tokens), "--num-prompts", str(job.requests),
            "--max-concurrency", str(job.concurrency), "--seed", str(self._seed + self._jobs), "--temperature", "0",
            "--disable-tqdm", "--save-result", "--save-detailed", "--result-filename", str(result),
        ]  # fmt: skip

    def _reply(self) -> dict[str, Any]:
        stdout = self._process.stdout
        assert stdout is not None  # noqa: S101 a pipe was asked for
        while not select.select([stdout], [], [], LOOK_S)[0]:
            self.alive()
        line = stdout.readline()
        if not line:
            raise self._ended()
        reply: dict[str, Any] = json.loads(line)
        return reply

    def _ended(self) -> RequestFailedError:
        code = self._process.wait(END_S)
        text = (self.directory / "client.log").read_text(encoding="utf-8", errors="replace").strip()
        said = " / ".join(text.splitlines()[-LOG_LINES:]) or "nothing"
        return RequestFailedError(
            f"the benchmark client ended with {code}; it said: {said}",
            "a client that answers",
            "see whether memory ran out: `rigappliance why`",
        )


def environment(inherited: Mapping[str, str], endpoint: Endpoint, directory: Path) -> dict[str, str]:
    """No network but the endpoint, which no proxy stands before; nothing written outside of ``directory``."""
    known = {**inherited, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    known |= {"DO_NOT_TRACK": "1", "NO_PROXY": endpoint.host, "no_proxy": endpoint.host, "OMP_NUM_THREADS": "1"}
    known |= {name: str(directory / "cache") for name in ("HF_HOME", "VLLM_CACHE_ROOT", "XDG_CACHE_HOME")}
    known.pop("OPENAI_API_KEY", None)
    return {**known, "OPENAI_API_KEY": endpoint.api_key} if endpoint.api_key else known

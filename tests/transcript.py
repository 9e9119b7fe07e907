"""What an engine answers and how it ends, as plain values: the same look at the real one and at the stand-in.

``python -m tests.transcript ENGINE_PYTHON LOGS`` records the real one into tests/recordings, and its logs into LOGS.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rigappliance.launch.leftovers import remove_shared_memory, shared_memory_names
from rigappliance.launch.proctree import command_line, descendants, read_stat

RECORDING = Path(__file__).resolve().parent / "recordings/endpoints-0.32.0.json"
METRICS = RECORDING.with_name("metrics-0.32.0.txt")
KEY = "secret"
MODEL = "tiny"
# An answer is text that two engines need not share; where it is an error, it is part of the interface.
WITHOUT_BODY = ("/docs", "/openapi.json", "/redoc", "/metrics", "/metrics/")

PROMPT: dict[str, Any] = {"model": MODEL, "prompt": "Hi", "max_tokens": 2, "temperature": 0}
CHAT: dict[str, Any] = {
    "model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2, "temperature": 0,
}  # fmt: skip
STREAM = {"stream": True, "stream_options": {"include_usage": True}}


@dataclass(frozen=True)
class Ask:
    """One request; ``body`` is sent as JSON unless it is text."""

    method: str
    path: str
    body: object = None
    key: str | None = KEY
    kind: str = "application/json"


ASKS: dict[str, Ask] = {
    "health": Ask("GET", "/health"),
    "health posted": Ask("POST", "/health", {}),
    "health head": Ask("HEAD", "/health"),
    "ping": Ask("GET", "/ping"),
    "ping posted": Ask("POST", "/ping", {}),
    "version": Ask("GET", "/version"),
    "load": Ask("GET", "/load"),
    "metrics": Ask("GET", "/metrics"),
    "metrics with a slash": Ask("GET", "/metrics/"),
    "docs": Ask("GET", "/docs"),
    "openapi": Ask("GET", "/openapi.json"),
    "nothing there": Ask("GET", "/nothing"),
    "nothing there below v1": Ask("GET", "/v1/nothing"),
    "root": Ask("GET", "/"),
    "models": Ask("GET", "/v1/models"),
    "models with a query": Ask("GET", "/v1/models?x=1"),
    "models deleted": Ask("DELETE", "/v1/models"),
    "completion": Ask("POST", "/v1/completions", PROMPT),
    "completion of token ids": Ask("POST", "/v1/completions", {**PROMPT, "prompt": [1, 2, 3]}),
    "completion got": Ask("GET", "/v1/completions"),
    "completion streamed": Ask("POST", "/v1/completions", {**PROMPT, **STREAM}),
    "completion of another model": Ask("POST", "/v1/completions", {**PROMPT, "model": "other"}),
    "completion without a prompt": Ask("POST", "/v1/completions", {"model": MODEL}),
    "completion without a model": Ask("POST", "/v1/completions", {"prompt": "Hi", "max_tokens": 1}),
    "completion of no JSON": Ask("POST", "/v1/completions", "{nonsense"),
    "completion of an empty body": Ask("POST", "/v1/completions", ""),
    "completion as text": Ask("POST", "/v1/completions", json.dumps(PROMPT), kind="text/plain"),
    "completion of minus one token": Ask("POST", "/v1/completions", {**PROMPT, "max_tokens": -1}),
    "completion too long": Ask("POST", "/v1/completions", {**PROMPT, "max_tokens": 100_000}),
    "completion of a long prompt": Ask("POST", "/v1/completions", {**PROMPT, "prompt": "Hi " * 3000}),
    "completion at a wrong temperature": Ask("POST", "/v1/completions", {**PROMPT, "temperature": "hot"}),
    "chat": Ask("POST", "/v1/chat/completions", CHAT),
    "chat streamed": Ask("POST", "/v1/chat/completions", {**CHAT, **STREAM}),
    "chat streamed without usage": Ask("POST", "/v1/chat/completions", {**CHAT, "stream": True}),
    "chat without messages": Ask("POST", "/v1/chat/completions", {"model": MODEL}),
    "chat with another model": Ask("POST", "/v1/chat/completions", {**CHAT, "model": "other"}),
    "tokenize": Ask("POST", "/tokenize", {"model": MODEL, "prompt": "Hi"}),
    "detokenize": Ask("POST", "/detokenize", {"model": MODEL, "tokens": [40]}),
    "tokenize got": Ask("GET", "/tokenize"),
    "health without a key": Ask("GET", "/health", key=None),
    "metrics without a key": Ask("GET", "/metrics", key=None),
    "version without a key": Ask("GET", "/version", key=None),
    "tokenize without a key": Ask("POST", "/tokenize", {"model": MODEL, "prompt": "Hi"}, key=None),
    "models without a key": Ask("GET", "/v1/models", key=None),
    "models with a wrong key": Ask("GET", "/v1/models", key="wrong"),
    "completion without a key": Ask("POST", "/v1/completions", PROMPT, key=None),
    "chat without a key": Ask("POST", "/v1/chat/completions", CHAT, key=None),
    "nothing there below v1 without a key": Ask("GET", "/v1/nothing", key=None),
}


def ask(port: int, what: Ask, timeout_s: float = 30.0) -> dict[str, Any]:
    """Status, kind and body of the answer; ``{"refused": …}`` where there is none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    headers = {"Content-Type": what.kind} if what.body is not None else {}
    if what.key is not None:
        headers["Authorization"] = f"Bearer {what.key}"
    body = what.body if what.body is None or isinstance(what.body, str) else json.dumps(what.body)
    try:
        connection.request(what.method, what.path, body, headers)
        response = connection.getresponse()
        text = response.read().decode()
    except (OSError, http.client.HTTPException) as error:
        return {"refused": type(error).__name__}
    finally:
        connection.close()
    found: dict[str, Any] = {"status": response.status, "type": response.headers.get("Content-Type")}
    if what.path not in WITHOUT_BODY and text:
        found["body"] = parsed(text)
    return found


def parsed(text: str) -> object:
    """A JSON body, the events of a stream, or the text itself."""
    if text.startswith("data:"):
        events = [line.removeprefix("data:").strip() for line in text.splitlines() if line]
        return [parsed(event) for event in events]
    try:
        content: object = json.loads(text)
    except ValueError:
        return text
    return content


@contextmanager
def engine(argv: Sequence[str], environment: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """An engine that runs, and none of its processes afterwards."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL, stdout=file, stderr=file,
            env={**os.environ, **environment}, start_new_session=True,
        )  # fmt: skip
    before = shared_memory_names()
    try:
        yield process
    finally:
        for stat in descendants(process.pid):
            with suppress(OSError):
                os.kill(stat.pid, signal.SIGKILL)
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        # Only what nobody uses: other engines may run on this machine.
        remove_shared_memory(before)


def wait_for(condition: Callable[[], object], limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not reached in {limit_s} s")
        time.sleep(0.02)


def tree(root: int) -> list[dict[str, str]]:
    """Name, title and parent's name of every process of the engine, the API server first."""
    found = []
    for stat in [read_stat(root), *descendants(root)]:
        if stat is not None:
            parent = read_stat(stat.ppid)
            # The whole command line only where it is a title; the others' arguments differ from engine to engine.
            title = command_line(stat.pid)
            found.append(
                {
                    "name": stat.name if title.startswith("VLLM::") else "python",
                    "title": title if title.startswith("VLLM::") else "resource tracker" * ("tracker" in title),
                    "parent": parent.name if parent and parent.name.startswith("VLLM::") else "python",
                }
            )
    return sorted(found, key=lambda one: (one["title"], one["name"]))


def part(root: int, name: str) -> int:
    """Pid of the first process below ``root`` whose title begins with ``VLLM::name``."""
    return next(s.pid for s in descendants(root) if command_line(s.pid).startswith(f"VLLM::{name}"))


def kinds_of_memory(names: frozenset[str]) -> list[str]:
    """Kinds of names in /dev/shm: the random part cut off."""
    return sorted({name.split("_")[0] if name.startswith(("psm_", "torch_")) else name[:6] for name in names})


def seen_after(process: subprocess.Popen[bytes], port: int, limit_s: float = 15.0) -> dict[str, Any]:
    """How an engine ends after something was done to it: what /health says meanwhile, when, with which status."""
    began = time.monotonic()
    answers: list[str] = []
    while process.poll() is None and time.monotonic() - began < limit_s:
        reply = ask(port, Ask("GET", "/health"), 1.0)
        # That nobody listens any more while it leaves is seen or not by chance.
        told = str(reply.get("status", ""))
        if told and told != (answers[-1] if answers else None):
            answers.append(told)
        time.sleep(0.05)
    return {"health": answers, "ended_s": round(time.monotonic() - began, 1), "status": process.poll()}


class Recorder:
    """Scenarios on an engine that ``start`` says how to run: arguments, environment, port."""

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str], port: int, directory: Path) -> None:
        self.argv = argv
        self.environment = environment
        self.port = port
        self.directory = directory
        # How long one looks at what is left of a killed server.
        self.patience_s = 10.0

    @contextmanager
    def running(self, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
        with engine(self.argv, {**self.environment, **environment}, self.log) as process:
            yield process

    @property
    def log(self) -> Path:
        return self.directory / "engine.log"

    def said(self, text: str) -> bool:
        return self.log.exists() and text.encode() in self.log.read_bytes()

    def listens(self) -> bool:
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", self.port)) == 0

    def wait_listening(self, process: subprocess.Popen[bytes]) -> None:
        wait_for(lambda: process.poll() is not None or self.listens(), 180)
        if process.poll() is not None:
            raise AssertionError(f"ended with {process.returncode}: {self.log.read_text(errors='replace')[-2000:]}")
        wait_for(lambda: self.said("Application startup complete."), 10)

    def endpoints_and_a_killed_worker(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        memory = shared_memory_names()
        with self.running(VLLM_API_KEY=KEY) as process:
            wait_for(lambda: self.said("Starting to load model"), 120)
            found["while loading"] = ask(self.port, ASKS["health"], 1.0)
            self.wait_listening(process)
            found["asked"] = {name: ask(self.port, what) for name, what in ASKS.items()}
            found["metrics"] = metrics(self.port)
            found["processes"] = tree(process.pid)
            found["memory"] = kinds_of_memory(shared_memory_names() - memory)
            os.kill(part(process.pid, "Worker"), signal.SIGKILL)
            found["worker killed"] = seen_after(process, self.port)
        return found

    def killed_core(self) -> dict[str, Any]:
        """Without a key; a request that runs, and one that comes when the core is dead."""
        found: dict[str, Any] = {}
        with self.running() as process:
            self.wait_listening(process)
            names = ("models without a key", "models with a wrong key", "completion without a key")
            found["asked without a declared key"] = {name: ask(self.port, ASKS[name]) for name in names}
            running: dict[str, Any] = {}
            long = Ask("POST", "/v1/completions", {**PROMPT, "max_tokens": 900, "ignore_eos": True})
            thread = threading.Thread(target=lambda: running.update(ask(self.port, long)))
            thread.start()
            time.sleep(0.3)
            os.kill(part(process.pid, "EngineCore"), signal.SIGKILL)
            thread.join()
            found["running when the core was killed"] = running
            found["asked of a dead core"] = ask(self.port, ASKS["completion"], 5.0)
            found["core killed"] = seen_after(process, self.port)
        return found

    def killed_quiet_core(self) -> dict[str, Any]:
        with self.running() as process:
            self.wait_listening(process)
            os.kill(part(process.pid, "EngineCore"), signal.SIGKILL)
            time.sleep(1)
            dead = {name: ask(self.port, ASKS[name], 2.0) for name in ("health", "ping", "metrics", "models")}
            chat = ask(self.port, ASKS["chat"], 5.0)
            return {"asked of a dead core, idle": {**dead, "chat": chat}, "then": seen_after(process, self.port)}

    def killed_api_server(self) -> dict[str, Any]:
        memory = shared_memory_names()
        with self.running() as process:
            self.wait_listening(process)
            below = descendants(process.pid)
            process.kill()
            process.wait()
            time.sleep(self.patience_s)
            left = [stat for stat in below if read_stat(stat.pid)]
            titles = [command_line(stat.pid) for stat in left]
            found = {"left": sorted(title if title.startswith("VLLM::") else "python" for title in titles)}
            found["memory left"] = kinds_of_memory(shared_memory_names() - memory)
            for stat in left:
                os.kill(stat.pid, signal.SIGKILL)
            return found

    def stopped(self) -> dict[str, Any]:
        with self.running() as process:
            self.wait_listening(process)
            process.terminate()
            return seen_after(process, self.port)

    def stopped_while_loading(self, mark: str) -> dict[str, Any]:
        """The status with which it leaves, None where it goes on."""
        with self.running() as process:
            wait_for(lambda: self.said(mark), 120)
            process.terminate()
            began = time.monotonic()
            while process.poll() is None and not self.listens() and time.monotonic() - began < 15:
                time.sleep(0.1)
            return {"status": process.poll()}


def shape(value: object) -> object:
    """Keys and kinds of a body, whatever its texts and numbers are."""
    if isinstance(value, dict):
        return {key: shape(one) for key, one in value.items()}
    if isinstance(value, list):
        # Two answers need not have as many tokens.
        return [shape(one) for one in value[:1]]
    if isinstance(value, bool) or value is None:
        return value
    return "number" if isinstance(value, int | float) else "text"


def comparable(answer: dict[str, Any]) -> dict[str, Any]:
    """What two engines have to agree on: a refusal to the letter, other answers in their shape."""
    if answer.get("status", 0) >= 400 or "body" not in answer:
        return answer
    body = answer["body"]
    if isinstance(body, list):
        # The events of a stream: the first, one in the middle, and the end.
        return {**answer, "body": [shape(body[0]), shape(body[1]), *map(shape, body[-2:])]}
    return {**answer, "body": shape(body)}


def differences(recorded: dict[str, Any], seen: dict[str, Any]) -> dict[str, tuple[object, object]]:
    """Names of the requests that are answered otherwise than recorded, with both answers."""
    pairs = {name: (recorded.get(name), seen.get(name)) for name in recorded.keys() | seen.keys()}
    return {
        name: (old and comparable(old), new and comparable(new))
        for name, (old, new) in sorted(pairs.items())
        if not (old and new) or comparable(old) != comparable(new)
    }


def metrics(port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return text


def metric_names(text: str) -> set[str]:
    """Names of the samples of a Prometheus exposition, labels left out."""
    return {line.split("{")[0].split(" ")[0] for line in text.splitlines() if line and not line.startswith("#")}


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def real_engine(python: Path, root: Path) -> Recorder:
    """A recorder of the real engine with a small checkpoint below ``root``."""
    from rigappliance.demo.checkpoint import write_checkpoint

    write_checkpoint(root / "checkpoint")
    port = free_port()
    argv = [
        str(python), "-m", "vllm.entrypoints.openai.api_server", "--model", str(root / "checkpoint"),
        "--served-model-name", MODEL, "--max-model-len", "1024", "--max-num-seqs", "8", "--dtype", "bfloat16",
        "--kv-cache-memory-bytes", str(256 << 20), "--host", "127.0.0.1", "--port", str(port),
    ]  # fmt: skip
    temporary = root / "tmp"
    temporary.mkdir(exist_ok=True)
    environment = {
        "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_CACHE_ROOT": str(root / "cache"),
        "TMPDIR": str(temporary),
    }  # fmt: skip
    return Recorder(argv, environment, port, root)


def scenarios(recorder: Recorder) -> Iterator[tuple[str, dict[str, Any]]]:
    """All of them, one after the other."""
    yield "endpoints", recorder.endpoints_and_a_killed_worker()
    yield "core killed", recorder.killed_core()
    yield "idle core killed", recorder.killed_quiet_core()
    yield "stopped", recorder.stopped()
    yield "stopped while loading", recorder.stopped_while_loading("Starting to load model")
    yield "API server killed", recorder.killed_api_server()


def scrubbed(text: str, recorder: Recorder) -> str:
    """Without the paths of the machine on which it was recorded; see tests/recordings/README.md."""
    engine = Path(recorder.argv[0]).absolute().parents[1]
    for was, put in (
        (str(recorder.directory / "checkpoint"), "/srv/checkpoint"),
        (str(recorder.directory / "cache"), "/var/lib/rigappliance/cache"),
        (str(recorder.directory), "/var/lib/rigappliance"),
        (str(engine), "/opt/engine"),
        (sysconfig.get_path("stdlib"), "/usr/lib/python3.11"),
    ):
        text = text.replace(was, put)
    return text


def main() -> None:
    logs = Path(sys.argv[2])
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as directory:
        recorder = real_engine(Path(sys.argv[1]), Path(directory))
        began = time.monotonic()
        for name, one in scenarios(recorder):
            print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
            (logs / f"{name.replace(' ', '-')}.log").write_text(scrubbed(recorder.log.read_text(), recorder))
            METRICS.write_text(one.pop("metrics", "") or METRICS.read_text())
            found[name] = one
            RECORDING.write_text(scrubbed(json.dumps(found, indent=1, ensure_ascii=False) + "\n", recorder))


if __name__ == "__main__":
    main()

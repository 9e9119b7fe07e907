"""An engine that serves, as far as `bench` looks: a state, an endpoint, and a benchmark client that takes no time."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from rigappliance.launch.proctree import read_stat
from rigappliance.launch.state import PhaseRecord, StartState, StateDirectory
from tests.unit.place import Place

MODEL = "tiny"
# Stands in for vLLM's client: the options that it takes are those that the real one is given, and no others.
CLIENT = """
import argparse, json, os, pathlib, time
TOLD = pathlib.Path(__file__).with_name("told.json")
SEEN = pathlib.Path(__file__).with_name("seen.jsonl")
def get_tokenizer(name, **options):
    return object()
def add_cli_args(parser):
    for name in ("backend", "base-url", "endpoint", "model", "tokenizer", "dataset-name", "result-filename"):
        parser.add_argument("--" + name)
    for name in ("random-input-len", "random-output-len", "num-prompts", "max-concurrency", "seed"):
        parser.add_argument("--" + name, type=int)
    parser.add_argument("--temperature", type=float)
    for name in ("disable-tqdm", "save-result", "save-detailed"):
        parser.add_argument("--" + name, action="store_true")
def main(args):
    told = json.loads(TOLD.read_text())
    with SEEN.open("a") as seen:
        keys = ("OPENAI_API_KEY", "NO_PROXY", "HF_HUB_OFFLINE")
        facts = {"nice": os.nice(0), "environment": {key: os.environ.get(key) for key in keys}}
        seen.write(json.dumps({**vars(args), **facts}) + chr(10))
    number = len(SEEN.read_text().splitlines())
    print("a table that is no answer", flush=True)
    if number == told.get("sleep_at"):
        time.sleep(60)
    if number == told.get("die_at"):
        os._exit(9)
    if number == told.get("raise_at"):
        raise ValueError("told so")
    failed = args.num_prompts if number == told.get("fail_at") else 0
    first = args.random_input_len * args.max_concurrency / told["prefill"]
    gap = args.max_concurrency / told["decode"] * told.get("drift", 1.0) ** (number % 3)
    waves = args.num_prompts / args.max_concurrency
    gaps = [[gap] * (args.random_output_len - 1)] * args.num_prompts
    pathlib.Path(args.result_filename).write_text(json.dumps({
        "completed": args.num_prompts - failed, "failed": failed,
        "duration": waves * (first + gap * (args.random_output_len - 1)),
        "total_input_tokens": args.num_prompts * args.random_input_len,
        "total_output_tokens": args.num_prompts * args.random_output_len,
        "ttfts": [first] * args.num_prompts, "itls": gaps,
        "errors": ["Unauthorized"] * failed + [""] * (args.num_prompts - failed),
    }))
"""
PARSER = "from argparse import ArgumentParser as FlexibleArgumentParser\n"


def write_client(package: Path) -> None:
    """Below ``package``, as the engine has it below ``vllm``."""
    for name in ("", "benchmarks", "utils"):
        (package / name).mkdir(parents=True, exist_ok=True)
        (package / name / "__init__.py").touch()
    (package / "benchmarks/serve.py").write_text(CLIENT)
    (package / "utils/argparse_utils.py").write_text(PARSER)


def tell(package: Path, **keys: Any) -> None:
    """4000 tokens/s read and 1000 written, and whatever else ``CLIENT`` looks for."""
    told = {"prefill": 4000.0, "decode": 1000.0, **keys}
    (package / "benchmarks/told.json").write_text(json.dumps(told))


class Endpoint(ThreadingHTTPServer):
    """Answers what `bench` asks. ``key``: what it wants to be shown."""

    key: str | None = None
    waiting = 0

    class Handler(BaseHTTPRequestHandler):
        server: Endpoint

        def do_GET(self) -> None:
            key = self.server.key
            if self.path == "/metrics":
                self.reply(200, f'vllm:num_requests_running{{engine="0"}} {self.server.waiting}.0\n'.encode())
            elif key and self.headers["Authorization"] != f"Bearer {key}":
                self.reply(401, b'{"error": {"message": "Unauthorized"}}')
            else:
                self.reply(200, json.dumps({"data": [{"id": MODEL}]}).encode())

        def reply(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass


class Measured(Place):
    """Everything sound: 32 requests at a time, 4000 tokens/s read, 1000 written."""

    def prepare(self) -> None:
        self.package = self.root / "package/vllm"
        write_client(self.package)
        python = self.root / "engine/bin/python"
        python.write_text(f'#!/bin/sh\nPYTHONPATH="{self.package.parent}" exec "{sys.executable}" -B -S "$@"\n')
        self.tell()
        self.server = Endpoint(("127.0.0.1", 0), Endpoint.Handler)
        self.stack.callback(self.server.shutdown)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.port = self.server.server_address[1]
        self.changes: dict[str, Any] = {"engine": {"max_num_seqs": 32, "max_model_len": 4096}}
        self.declare(self.changes)
        self.serve()

    def tell(self, **keys: Any) -> None:
        tell(self.package, **keys)

    def seen(self) -> list[dict[str, Any]]:
        """What the client was asked for, and with which environment."""
        lines = (self.package / "benchmarks/seen.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def serve(self, **changes: Any) -> None:
        """A state as a launch writes it, whose supervisor is this process."""
        own = read_stat(os.getpid())
        assert own is not None
        now = time.time()
        phases = [PhaseRecord("weights", now - 90, now - 60, 30.0), PhaseRecord("compile", now - 60, now, 60.0)]
        state = StartState(
            run_id="one", supervisor_pid=os.getpid(), supervisor_start_ticks=own.start_ticks, started=now - 90,
            url=f"http://127.0.0.1:{self.port}", model=MODEL, engine_version="0.32.0", phase="ready", ready=now,
            phases=[*phases, PhaseRecord("ready", now)], kv_tokens=100_000,
        )  # fmt: skip
        for name, value in changes.items():
            setattr(state, name, value)
        self.state.mkdir(exist_ok=True)
        StateDirectory(self.state).write(state)

    def kept(self) -> list[Path]:
        return sorted((self.state / "bench").glob("*.json"))

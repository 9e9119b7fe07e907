"""A stand-in for the engine: prints a recorded log, opens the API, and fails as it is told.

``standin.py PORT RECORDING DIRECTORY [NAME=VALUE...]``.  Standard library only, since it
starts in every test.  It appends a line to DIRECTORY/said for what a test waits for.

    delay=S            between lines (0.002)
    exit_at=TEXT       leave with status=N after the line that has TEXT
    hang_at=TEXT       print no more after that line, and use no CPU
    creep_at=TEXT      after that line print ``creep=N`` lines, one a second
    answer=WORD        to a completion: token, empty (200 without a token), refuse (500), hold
                       (until DIRECTORY/answer exists)
    term=ignore        do not leave on SIGTERM
    helpers=N          the worker starts N helpers, each of which has its name for HELPER_S and leaves

While it serves, the file DIRECTORY/do holds a command: ``exit N``, ``wedge`` (no completion
returns any more), ``busy`` (the same, but token counters rise), ``dead`` (/health says 503).
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PR_SET_NAME = 15
# Longer than the pause between two looks at the processes.
HELPER_S = 1.3


class Standin:
    def __init__(self, port: int, recording: Path, directory: Path, options: dict[str, str]) -> None:
        self.port = port
        self.recording = recording
        self.directory = directory
        self.options = options
        self.tokens = 0
        self.released = threading.Event()

    def say(self, text: str) -> None:
        with (self.directory / "said").open("a") as file:
            file.write(f"{text}\n")

    @property
    def command(self) -> str:
        try:
            return (self.directory / "do").read_text()
        except OSError:
            return ""

    def spawn_worker(self) -> None:
        pid = os.fork()
        if pid == 0:
            ctypes.CDLL(None).prctl(PR_SET_NAME, b"VLLM::Worker", 0, 0, 0)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            for _ in range(int(self.options.get("helpers", "0"))):
                helper = os.fork()
                if helper == 0:
                    time.sleep(HELPER_S)
                    os._exit(0)
                os.waitpid(helper, 0)
                self.say(f"helper {helper}")
            while True:
                signal.pause()
        self.say(f"worker {pid}")

    def run(self) -> None:
        signal.signal(signal.SIGTERM, self.on_term)
        for line in self.recording.read_bytes().splitlines(keepends=True):
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
            text = line.decode(errors="replace")
            self.after(text)
            if "Application startup complete." in text:
                break
            time.sleep(float(self.options.get("delay", "0.002")))
        threading.Thread(target=self.serve, daemon=True).start()
        while not self.command.startswith("exit"):
            time.sleep(0.05)
        os._exit(int(self.command.split()[1]))

    def after(self, line: str) -> None:
        """What happens once ``line`` is out."""
        options = self.options
        if "Initializing a V1 LLM engine" in line:
            self.spawn_worker()
        if options.get("exit_at") and options["exit_at"] in line:
            os._exit(int(options["status"]))
        if options.get("hang_at") and options["hang_at"] in line:
            self.say("hangs")
            while True:
                signal.pause()
        if options.get("creep_at") and options["creep_at"] in line:
            for number in range(int(options["creep"])):
                time.sleep(1)
                print(f"(Worker pid=1) INFO 11-23 10:00:00 [creep.py:1] still at it, {number}", flush=True)
            del options["creep_at"]

    def on_term(self, *_: object) -> None:
        self.say("term")
        if self.options.get("term") != "ignore":
            os._exit(0)

    def serve(self) -> None:
        standin = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                """The recorded log is the only one."""

            def reply(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self) -> None:
                if self.path == "/health":
                    self.reply(503 if standin.command == "dead" else 200, b"")
                elif self.path == "/metrics":
                    standin.tokens += standin.command == "busy"
                    self.reply(200, f'vllm:generation_tokens_total{{model_name="tiny"}} {standin.tokens}\n'.encode())
                elif self.path == "/v1/models":
                    self.reply(200, json.dumps({"data": [{"id": "tiny"}]}).encode())

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                standin.say("asked")
                answer = standin.options.get("answer", "token")
                while standin.command in ("wedge", "busy"):
                    time.sleep(0.05)
                while answer == "hold" and not (standin.directory / "answer").exists():
                    time.sleep(0.02)
                if answer == "refuse":
                    self.reply(500, b'{"error": {"message": "EngineCore encountered an issue"}}')
                elif answer == "empty":
                    self.reply(200, b'{"choices": [], "usage": {"completion_tokens": 0}}')
                else:
                    standin.tokens += 1
                    standin.say("answered")
                    self.reply(200, b'{"choices": [{"text": "x"}], "usage": {"completion_tokens": 1}}')

        ThreadingHTTPServer(("127.0.0.1", self.port), Handler).serve_forever()


def main() -> None:
    port, recording, directory, *options = sys.argv[1:]
    pairs = dict(option.split("=", 1) for option in options)
    Standin(int(port), Path(recording), Path(directory), pairs).run()


if __name__ == "__main__":
    main()

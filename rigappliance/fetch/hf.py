"""Running the engine's `hf`."""

from __future__ import annotations

import ctypes
import os
import re
import selectors
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rigappliance.errors import EngineMissingError
from rigappliance.fetch.failures import plain
from rigappliance.fetch.stop import Stop

LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1  # <linux/prctl.h>

TICK_S = 0.5
# It has nothing to save: files become visible when they are whole.
STOP_S = 5.0
CREDENTIAL = "hf-token"

SETTINGS = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    # Bars are for terminals; we print lines of our own.
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    # Plain HTTP writes each file from its begin to its end, which a hard disk likes, with little memory and CPU.
    "HF_HUB_DISABLE_XET": "1",
    # A file that breaks off starts anew, so a slow line gets more time than the 10 s that are usual.
    "HF_HUB_DOWNLOAD_TIMEOUT": "60",
    "HF_HUB_ETAG_TIMEOUT": "60",
}
# What would forbid the network, print secrets, or lead the engine's Python to other packages.
UNWANTED = frozenset(
    {"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DEBUG", "PYTHONPATH", "PYTHONHOME", "NOTIFY_SOCKET", "WATCHDOG_USEC"}
)
# Lines worth showing while it works: what it tries again, and why.
NOTEWORTHY = re.compile(r"Error while downloading|.* thrown while requesting|Retrying in|Rate limited")


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Hf:
    """The program with its environment; ``stop`` ends it, ``say`` gets what it has to say while it works."""

    program: Path
    environment: Mapping[str, str]
    stop: Stop
    say: Callable[[str], None]

    def run(self, arguments: Sequence[str], on_tick: Callable[[], None] = lambda: None) -> Done:
        """Run to the end, with ``on_tick`` called about twice a second; what that raises ends the process too.

        Raises ``InterruptedStartError`` when stopped, after the process is gone,
        and ``EngineMissingError`` where the program cannot be executed.
        """
        self.stop.check()
        process = self.start(arguments)
        try:
            stdout, stderr = self.listen(process, on_tick)
        finally:
            end(process)
        self.stop.check()
        return Done(process.returncode, stdout, stderr)

    def start(self, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        parent = os.getpid()

        def die_with_parent() -> None:
            LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)

        try:
            return subprocess.Popen(
                [str(self.program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=dict(self.environment),
                # If we are killed, no writer must be left behind the next call's back.
                preexec_fn=die_with_parent,
            )
        except OSError as error:
            raise EngineMissingError(
                f"cannot start {self.program}: {error.strerror}",
                "the hf command of the engine's environment",
                "install the engine's environment again",
            ) from error

    def listen(self, process: subprocess.Popen[bytes], on_tick: Callable[[], None]) -> tuple[str, str]:
        """Both outputs; returns early when stopped."""
        pipes = {process.stdout: bytearray(), process.stderr: bytearray()}
        shown = 0
        with selectors.DefaultSelector() as selector:
            for pipe in pipes:
                assert pipe is not None  # noqa: S101 both were asked for
                selector.register(pipe, selectors.EVENT_READ)
            while selector.get_map() and self.stop.signum is None:
                for key, _ in selector.select(TICK_S):
                    data = os.read(key.fd, 1 << 16)
                    pipes[key.fileobj] += data  # type: ignore[index]
                    if not data:
                        selector.unregister(key.fileobj)
                shown = self.show(pipes[process.stderr], shown)
                on_tick()
        return tuple(bytes(data).decode(errors="replace") for data in pipes.values())  # type: ignore[return-value]

    def show(self, output: bytearray, shown: int) -> int:
        """Say the noteworthy among the whole lines behind ``shown``; returns where the next ones begin."""
        end_of_lines = output.rfind(b"\n") + 1
        for line in bytes(output[shown:end_of_lines]).decode(errors="replace").splitlines():
            if NOTEWORTHY.match(line):
                self.say(f"hf: {plain(re.sub(r'https?://[^ ]*/', '', line))}")
        return max(shown, end_of_lines)


def end(process: subprocess.Popen[bytes]) -> None:
    """Make sure that it is gone."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def find_program(python: Path) -> Path:
    """`hf` beside the engine's interpreter. Raises ``EngineMissingError``."""
    program = python.parent / "hf"
    if os.access(program, os.X_OK):
        return program
    raise EngineMissingError(
        f"{program} is not there",
        "the engine's environment, which downloads the checkpoint too",
        "install it, or set engine.python to the interpreter of one that has it",
    )


def environment_for(environ: Mapping[str, str]) -> dict[str, str]:
    """Of the caller's variables those that `hf` should see, with our settings where the caller has none."""
    kept = {name: value for name, value in environ.items() if name not in UNWANTED and "RIGAPPLIANCE_" not in name}
    credential = Path(environ.get("CREDENTIALS_DIRECTORY", "/nowhere"), CREDENTIAL)
    if "HF_TOKEN" not in kept and "HF_TOKEN_PATH" not in kept and credential.is_file():
        kept["HF_TOKEN_PATH"] = str(credential)
    return {**SETTINGS, **kept}


def token_file(environ: Mapping[str, str]) -> Path:
    """Where `hf` looks for a token."""
    home = environ.get("HOME") or str(Path.home())
    cache = environ.get("XDG_CACHE_HOME") or f"{home}/.cache"
    hf_home = environ.get("HF_HOME") or f"{cache}/huggingface"
    return Path(environ.get("HF_TOKEN_PATH") or f"{hf_home}/token")

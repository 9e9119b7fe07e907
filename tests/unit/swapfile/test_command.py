"""The verb: what it prints and exits with, how it stops, what systemd sees."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rigappliance.cli import run
from rigappliance.errors import ExitCode
from rigappliance.swapfile import machine, progress
from tests.unit.place import ROOT
from tests.unit.swapfile.host import MIB, Host
from tests.unit.swapfile.test_make import good

Output = pytest.CaptureFixture[str]


@pytest.fixture
def verb(host: Host, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """`rigappliance swap` on ``host``, with 8 MiB declared unless a test says otherwise."""
    for variable in [name for name in os.environ if "RIGAPPLIANCE_" in name]:
        monkeypatch.delenv(variable)
    monkeypatch.setattr(machine, "this_machine", lambda: host.machine)
    declare(host)
    return lambda *arguments: run(["swap", *arguments, "-c", str(host.root / "rig.json")])


def declare(host: Host, size: str = "8MiB") -> None:
    memory = {"swap": size, "swap_file": str(host.file)}
    (host.root / "rig.json").write_text(json.dumps({"memory": memory}))


def test_on_status_off(host: Host, verb: Callable[..., int], capsys: Output) -> None:
    assert verb("status") == ExitCode.NOT_RUNNING
    assert capsys.readouterr() == (f"{host.file}: not active\n  declared  8.0 MiB, priority 10\n", "")
    assert verb("on") == ExitCode.OK
    out, err = capsys.readouterr()
    assert out.startswith(f"{host.file}: 8.0 MiB of swap active, priority 10, made in ")
    assert err == f"rigappliance: making {host.file}: 8.0 MiB, preallocated on ext4 at {host.directory}\n"
    assert verb("status") == ExitCode.OK
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [f"{host.file}: active as declared", "  declared  8.0 MiB, priority 10"]
    assert lines[2].startswith("  file      8.0 MiB, mode 0600, ext4")
    assert lines[3:] == ["  active    0 B in use, priority 10"]
    assert verb("off") == ExitCode.OK
    assert capsys.readouterr() == (f"{host.file} is disabled\n", "")
    assert verb("off", "--delete") == ExitCode.OK
    assert capsys.readouterr().out == f"{host.file} was not active; removed rig.swap\n"
    assert list(host.directory.iterdir()) == []


def test_status_for_programs(host: Host, verb: Callable[..., int], capsys: Output) -> None:
    verb("on")
    capsys.readouterr()
    assert verb("status", "--json") == ExitCode.OK
    answer = json.loads(capsys.readouterr().out)
    assert (answer["as_declared"], answer["size_bytes"], answer["active"]) == (True, 8 * MIB, True)
    assert answer["file"] == str(host.file)


@pytest.mark.parametrize(
    ("arrange", "line"),
    [
        (lambda host: host.partial.write_bytes(bytes(2 * MIB)), "  begun     2.0 MiB (25%) in {file}.partial"),
        (lambda host: host.mount("zfs"), "  problem   {file} lies on zfs"),
        (lambda host: host.file.write_text("data"), "  problem   {file} exists and is no swap area"),
        (lambda host: host.on(16 * MIB), "{file}: active, with another size or priority than declared"),
    ],
)
def test_status_says_what_is_the_matter(
    host: Host, verb: Callable[..., int], capsys: Output, arrange: Callable[[Host], object], line: str
) -> None:
    arrange(host)
    assert verb("status") == ExitCode.NOT_RUNNING
    assert any(shown.startswith(line.format(file=host.file)) for shown in capsys.readouterr().out.splitlines())


def test_nothing_declared(host: Host, verb: Callable[..., int], capsys: Output) -> None:
    declare(host, "0B")
    assert verb("on") == ExitCode.OK
    assert capsys.readouterr().out == "memory.swap is 0B: no swap file is declared, and nothing was done\n"
    assert verb("status") == ExitCode.OK
    assert capsys.readouterr().out.startswith(
        f"{host.file}: none is declared, and it is not active\n  declared  none\n"
    )
    declare(host)
    verb("on")
    declare(host, "0B")
    capsys.readouterr()
    assert verb("status") == ExitCode.NOT_RUNNING
    assert capsys.readouterr().out.startswith(f"{host.file}: active, and none is declared\n")


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (("on", "--delete"), "swap on has no option --delete"),
        (("status", "--delete"), "swap status has no option --delete"),
        (("off", "--json"), "swap off has no option --json"),
        (("up",), "'up' is not one of 'on', 'off', 'status'"),
        ((), "missing argument"),
    ],
)
def test_a_wrong_command_line(
    host: Host, verb: Callable[..., int], capsys: Output, arguments: tuple[str, ...], found: str
) -> None:
    assert verb(*arguments) == ExitCode.USAGE
    out, err = capsys.readouterr()
    assert out == ""
    assert found in err.splitlines()[0]
    assert len(err.splitlines()) == 3
    assert list(host.directory.iterdir()) == []


def test_refusals_exit_with_4_and_three_clauses(host: Host, verb: Callable[..., int], capsys: Output) -> None:
    host.mount("tmpfs")
    assert verb("on") == ExitCode.PREFLIGHT
    err = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0].strip() for line in err] == ["rigappliance", "expected", "to do"]


def test_systemd_sees_how_far_it_is(
    host: Host, verb: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setattr(progress, "LINE_AT_MOST_EVERY_S", 0.0)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        # The name of a Unix socket may be 107 bytes long, and a test's directory longer.
        listener.bind(f"\0rig-swap-{os.getpid()}")
        listener.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@rig-swap-{os.getpid()}")
        verb("on")
        messages = []
        while True:
            try:
                messages.append(listener.recv(4096).decode())
            except BlockingIOError:
                break
    assert len(messages) == 9
    assert messages[0].startswith(f"STATUS=making {host.file}: 1.0 MiB of 8.0 MiB (12%), ")
    assert messages[-1].startswith(f"STATUS={host.file}: 8.0 MiB of swap active")
    err = capsys.readouterr().err.splitlines()
    assert err[1].removeprefix("rigappliance: ") == messages[0].removeprefix("STATUS=")


def started(host: Host, *arguments: str) -> subprocess.Popen[str]:
    """The real program on ``host``, in a process of its own."""
    command = [sys.executable, "-m", "tests.unit.swapfile.child", str(host.root), "swap", *arguments]
    return subprocess.Popen(
        [*command, "-c", str(host.root / "rig.json")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def until(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.005)


def begun(host: Host) -> bool:
    return host.partial.exists() and host.partial.stat().st_blocks * 512 >= 2 * MIB


@pytest.mark.parametrize("filesystem", ["ext4", "ext2"])
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_at_once_and_it_can_go_on(host: Host, filesystem: str, signum: signal.Signals) -> None:
    host.mount(filesystem)
    declare(host, "64MiB")
    process = started(host, "on")
    until(lambda: begun(host))
    sent = time.monotonic()
    process.send_signal(signum)
    out, err = process.communicate(timeout=30)
    assert time.monotonic() - sent < 2.0
    assert (process.returncode, out) == (ExitCode.INTERRUPTED, "")
    assert err.splitlines()[-2:] == [
        f"rigappliance: stopped on {signum.name}",
        "  to do:    run `rigappliance swap on` again: it goes on with what is made",
    ]
    assert list(host.directory.iterdir()) == [host.partial]
    inode, blocks = host.partial.stat().st_ino, host.partial.stat().st_blocks
    assert 2 * MIB <= blocks * 512 < 64 * MIB
    host.on(64 * MIB)
    good(host, 64 * MIB)
    assert host.file.stat().st_ino == inode


def test_a_second_one_is_told_that_it_is_busy(host: Host) -> None:
    host.mount("ext2")
    declare(host, "64MiB")
    first = started(host, "on")
    until(lambda: begun(host))
    second = started(host, "on")
    out, err = second.communicate(timeout=30)
    assert (second.returncode, out) == (ExitCode.BUSY, "")
    assert err.startswith(f"rigappliance: another `rigappliance swap` works on {host.file}\n")
    first.terminate()
    first.communicate(timeout=30)
    assert list(host.directory.iterdir()) == [host.partial]


def test_the_signals_are_given_back(host: Host, verb: Callable[..., int]) -> None:
    before = [signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]
    verb("on")
    assert [signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)] == before


def test_a_signal_that_the_caller_ignores_stays_ignored(host: Host) -> None:
    """`nohup rigappliance swap on` goes on when the terminal is closed."""
    declare(host, "16MiB")
    command = ["nohup", sys.executable, "-m", "tests.unit.swapfile.child", str(host.root), "swap", "on"]
    with Path(os.devnull).open("wb") as nowhere:
        process = subprocess.Popen(
            [*command, "-c", str(host.root / "rig.json")], cwd=ROOT, stdout=nowhere, stderr=nowhere
        )
        until(lambda: begun(host))
        process.send_signal(signal.SIGHUP)
        assert process.wait(timeout=30) == ExitCode.OK
    good(host, 16 * MIB)

"""systemd's notification protocol, against a real datagram socket."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from rigappliance.launch.notify import Notifier


class Manager:
    """The socket on which systemd listens."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.setblocking(False)

    def messages(self) -> list[bytes]:
        found = []
        while True:
            try:
                found.append(self.socket.recv(1 << 16))
            except BlockingIOError:
                return found


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    address = f"@rigtest-{uuid.uuid4().hex}" if request.param == "abstract" else str(tmp_path / "notify")
    manager = Manager(address)
    yield manager
    manager.socket.close()


def test_messages_arrive_exactly(manager: Manager) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": manager.address})
    assert notifier.active
    notifier.status("weights, 3/20 shards")
    notifier.extend(1260.5)
    notifier.ready("ready after 30 min")
    notifier.watchdog()
    notifier.stopping("stopped on SIGTERM")
    notifier.send(STATUS="", MAINPID=0)
    assert manager.messages() == [
        b"STATUS=weights, 3/20 shards",
        b"EXTEND_TIMEOUT_USEC=1260500000",
        b"READY=1\nSTATUS=ready after 30 min",
        b"WATCHDOG=1",
        b"STOPPING=1\nSTATUS=stopped on SIGTERM",
        b"STATUS=\nMAINPID=0",
    ]


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\v", "\x1e", "\u2028", "\x85"])
def test_text_cannot_bring_a_field_of_its_own(manager: Manager, end: str) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": manager.address})
    notifier.status(f"weights{end}READY=1")
    notifier.status(f"{end}READY=1")
    assert manager.messages() == [b"STATUS=weights", b"STATUS="]


def test_text_that_is_no_unicode_is_sent_with_marks(manager: Manager) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": manager.address})
    notifier.status("read /srv/\udcff ✓")
    assert manager.messages() == ["STATUS=read /srv/? ✓".encode()]


def test_without_a_socket_nothing_is_sent() -> None:
    notifier = Notifier({"WATCHDOG_USEC": "1000000"})
    notifier.ready("ready")
    assert not notifier.active
    assert notifier.watchdog_interval_s is None


@pytest.mark.parametrize("address", ["/nowhere/notify", "@nobody-listens-here", "/" + "x" * 200, "relative"])
def test_a_socket_that_does_not_answer_is_passed_over(address: str) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": address})
    notifier.ready("ready")
    assert notifier.active


def test_the_environment_is_read_where_none_is_given(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", manager.address)
    Notifier().watchdog()
    assert manager.messages() == [b"WATCHDOG=1"]


@pytest.mark.parametrize(
    ("environ", "interval_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": ""}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
    ],
)
def test_watchdog_interval_is_half_of_what_systemd_allows(environ: dict[str, str], interval_s: float | None) -> None:
    assert Notifier({"NOTIFY_SOCKET": "@x", **environ}).watchdog_interval_s == interval_s

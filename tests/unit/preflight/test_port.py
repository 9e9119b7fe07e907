"""Ports and addresses against real sockets of this machine."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from rigappliance.config import ServerConfig
from rigappliance.preflight import port
from rigappliance.preflight.port import check_port
from tests.unit.preflight.rig import of, severities


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def number(server: socket.socket) -> int:
    return int(server.getsockname()[1])


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return number(server)


def server(**values: Any) -> ServerConfig:
    return ServerConfig.model_validate(values)


def test_a_free_port_of_this_machine_passes() -> None:
    assert severities(check_port(server(port=free_port()))) == {"ok"}


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_a_port_in_use_names_the_process(listener: socket.socket, host: str) -> None:
    finding = of(check_port(server(host=host, port=number(listener))), "port.free")
    assert finding.severity == "fail"
    assert f"process {os.getpid()} of {psutil.Process().username()}" in finding.found
    assert "pytest" in finding.found


def test_a_listener_on_all_addresses_is_found_too() -> None:
    with socket.create_server(("0.0.0.0", 0)) as everywhere:
        finding = of(check_port(server(port=number(everywhere))), "port.free")
    assert finding.severity == "fail"
    assert f"process {os.getpid()}" in finding.found


def test_a_listener_on_another_address_does_not_count(listener: socket.socket) -> None:
    assert of(check_port(server(host="127.0.0.2", port=number(listener))), "port.free").severity == "ok"
    assert port.listeners("127.0.0.2", number(listener)) == []


@pytest.mark.parametrize("error", [psutil.AccessDenied(1), PermissionError(13, "Permission denied")])
def test_without_permission_the_port_is_still_known_to_be_in_use(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(kind: str) -> Any:
        raise error

    monkeypatch.setattr(psutil, "net_connections", refuse)
    finding = of(check_port(server(port=number(listener))), "port.free")
    assert finding.severity == "fail"
    assert "a process that this user cannot see" in finding.found


def test_a_process_that_leaves_meanwhile_is_named_by_its_number(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(pid: int) -> Any:
        raise psutil.NoSuchProcess(pid)

    monkeypatch.setattr(psutil, "Process", gone)
    finding = of(check_port(server(port=number(listener))), "port.free")
    assert finding.found.endswith(f"in use by process {os.getpid()}")


def test_lingering_connections_do_not_count() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        used = number(listening)
        client = socket.create_connection(("127.0.0.1", used))
        accepted, _ = listening.accept()
    # The side that closes first keeps the port in TIME_WAIT.
    accepted.close()
    client.close()
    assert of(check_port(server(port=used)), "port.free").severity == "ok"


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1"])
def test_an_address_of_another_machine_fails(host: str) -> None:
    finding = of(check_port(server(host=host, api_key_file=__file__)), "port.address")
    assert finding.severity == "fail"
    assert "not an address of this machine" in finding.found
    assert "127.0.0.1" in finding.expected


@pytest.mark.parametrize("host", ["no.such.name.invalid", "300.1.1.1", "a" * 80 + ".x"])
def test_a_host_that_is_no_address_fails(host: str) -> None:
    assert of(check_port(server(host=host)), "port.address").severity == "fail"


def test_a_port_that_needs_privilege_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port, "bind_error", lambda *_: 13)
    finding = of(check_port(server(port=80)), "port.free")
    assert finding.severity == "fail"
    assert "CAP_NET_BIND_SERVICE" in finding.expected


@pytest.mark.parametrize(
    ("host", "severity"), [("127.0.0.1", "ok"), ("localhost", "ok"), ("127.9.9.9", "ok"), ("0.0.0.0", "warn")]
)
def test_an_api_for_everyone_needs_a_key(host: str, severity: str) -> None:
    assert of(check_port(server(host=host, port=free_port())), "port.exposure").severity == severity


@pytest.mark.parametrize(("content", "severity"), [("secret\n", "ok"), ("\n", "fail"), (None, "fail")])
def test_the_key_file_holds_a_key(tmp_path: Path, content: str | None, severity: str) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_text(content)
    finding = of(check_port(server(host="0.0.0.0", port=free_port(), api_key_file=file)), "port.exposure")
    assert finding.severity == severity
    assert "secret" not in str(finding)

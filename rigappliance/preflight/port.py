"""Can the API listen where it is told to, and who may reach it there?"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
from pathlib import Path

import psutil

from rigappliance.config import ServerConfig
from rigappliance.endpoint import read_api_key
from rigappliance.errors import ConfigError
from rigappliance.preflight.finding import Finding, fail, ok, warn

# Family and socket address as `socket.bind` takes it.
Address = tuple[int, tuple[str, int]]


def check_port(server: ServerConfig) -> list[Finding]:
    """All findings about address, port and key. Binds the address for a moment and listens on nothing."""
    addresses = resolve(server.host)
    if not addresses:
        return [
            fail(
                "port.address",
                f"server.host {server.host!r} is no address",
                "an IP address of this machine, or a name that resolves to one",
                "set server.host to 127.0.0.1, or to 0.0.0.0 for all addresses",
            )
        ]
    # For a name the engine listens on IPv4, whatever else the name means (vllm/entrypoints/launchers/launcher.py).
    chosen = next((address for address in addresses if address[0] == socket.AF_INET), addresses[0])
    return [check_free(server, chosen), check_exposure(server, addresses)]


def resolve(host: str) -> list[Address]:
    """The addresses of ``host``, or none."""
    try:
        infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [(int(family), (str(address[0]), 0)) for family, _, _, _, address in infos]


def check_free(server: ServerConfig, address: Address) -> Finding:
    """Binding tells the truth even where processes of others cannot be seen."""
    family, (host, _) = address
    where = f"{server.host} port {server.port}"
    error = bind_error(family, host, server.port)
    match error:
        case None:
            return ok("port.free", f"{where} is free")
        case errno.EADDRNOTAVAIL | errno.EAFNOSUPPORT:
            return fail(
                "port.address",
                f"server.host {server.host} is not an address of this machine",
                f"one of {', '.join(own_addresses())}",
                "set server.host to 127.0.0.1, or to 0.0.0.0 for all addresses",
            )
        case errno.EADDRINUSE:
            return fail(
                "port.free",
                f"{where} is in use by {port_user(host, server.port)}",
                "a free port",
                "stop that process, or set server.port to another port",
            )
        case errno.EACCES:
            return fail(
                "port.free",
                f"this user may not listen on port {server.port}",
                "a port from 1024 up, or the capability CAP_NET_BIND_SERVICE",
                "set server.port to 8000",
            )
    return fail("port.free", f"{where} cannot be bound: {os.strerror(error)}", "a free port", "set server.port")


def bind_error(family: int, host: str, port: int) -> int | None:
    """The error number of binding the address, or ``None``."""
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As the engine does: connections of an earlier server that linger do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        return error.errno or errno.EIO
    return None


def own_addresses() -> list[str]:
    """IPv4 addresses of this machine."""
    return [
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family == socket.AF_INET
    ]


def port_user(host: str, port: int) -> str:
    """Who listens there, as well as this user may know: process id, user and command line."""
    pids = listeners(host, port)
    if not pids:
        return "a process that this user cannot see"
    return " and ".join(describe_process(pid) for pid in pids)


def listeners(host: str, port: int) -> list[int]:
    """Process ids that listen on the address or on one that includes it; none where the kernel does not tell."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except (psutil.AccessDenied, OSError):
        return []
    wildcards = {"0.0.0.0", "::"}  # noqa: S104 - compared with, not bound to
    return sorted(
        {
            connection.pid
            for connection in connections
            if connection.status == psutil.CONN_LISTEN
            and connection.laddr
            and connection.laddr.port == port
            and (host in wildcards or connection.laddr.ip in {host, *wildcards})
            and connection.pid
        }
    )


def describe_process(pid: int) -> str:
    user, command = "", ""
    with contextlib.suppress(psutil.Error, OSError, KeyError):
        process = psutil.Process(pid)
        user = f" of {process.username()}"
        command = f": {' '.join(process.cmdline()) or process.name()}"
    return f"process {pid}{user}{command}"


def check_exposure(server: ServerConfig, addresses: list[Address]) -> Finding:
    """An API that other machines reach needs a key; a key that cannot be read stops the start."""
    if server.api_key_file is not None:
        return check_key_file(server.api_key_file)
    if all(ipaddress.ip_address(host.partition("%")[0]).is_loopback for _, (host, _) in addresses):
        return ok("port.exposure", "only this machine reaches the API")
    return warn(
        "port.exposure",
        f"server.host {server.host} is reachable from other machines, and anyone there may use the API",
        "server.api_key_file, or a loopback address",
        "write a key to a file and set server.api_key_file, or set server.host to 127.0.0.1",
    )


def check_key_file(file: Path) -> Finding:
    try:
        read_api_key(file)
    except ConfigError as error:
        return fail("port.exposure", error.found, error.expected, error.remedy)
    return ok("port.exposure", "the API asks for a key")

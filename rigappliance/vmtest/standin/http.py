"""An HTTP/1.1 server of a few lines; the standard library's takes longer to import than the stand-in to start."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

REASONS = {
    200: "OK", 204: "No Content", 307: "Temporary Redirect", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found",
    405: "Method Not Allowed", 415: "Unsupported Media Type", 422: "Unprocessable Entity",
    500: "Internal Server Error", 501: "Not Implemented", 503: "Service Unavailable",
}  # fmt: skip
JSON = "application/json"
HEAD_LIMIT_BYTES = 65536
# vLLM's default VLLM_HTTP_TIMEOUT_KEEP_ALIVE.
KEEP_ALIVE_S = 5.0


class Request:
    """One request; header names are in lower case."""

    def __init__(self, method: str, target: str, headers: dict[str, str], body: bytes, peer: str) -> None:
        self.method = method
        self.target = target
        self.path = target.partition("?")[0]
        self.headers = headers
        self.body = body
        self.peer = peer


class Response:
    """``body`` is sent at once; ``events`` in chunks as they come."""

    def __init__(self, status: int, body: bytes = b"", kind: str | None = JSON, **headers: str) -> None:
        self.status = status
        self.body = body
        self.kind = kind
        self.headers = headers
        self.events: Iterable[bytes] | None = None


class HangUpError(Exception):
    """Close the connection without an answer."""


App = Callable[[Request], Response]


class Server:
    """Answers on a bound socket; each connection has a thread. ``log`` gets a line for every answer."""

    def __init__(self, sock: socket.socket, app: App, log: Callable[[Request, int], None]) -> None:
        self.sock = sock
        self.app = app
        self.log = log
        self.answering = 0
        self._lock = threading.Lock()

    def start(self) -> None:
        self.sock.listen(2048)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """No connection from now on; answers that are on their way go out."""
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, peer = self.sock.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection, f"{peer[0]}:{peer[1]}"), daemon=True)
            thread.start()

    def _serve(self, connection: socket.socket, peer: str) -> None:
        with connection, suppress(OSError, HangUpError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.settimeout(KEEP_ALIVE_S)
            rest = b""
            while True:
                request, rest = self._read(connection, rest, peer)
                if request is None:
                    return
                # What the application does may take as long as it wants.
                connection.settimeout(None)
                self._count(1)
                try:
                    response = self.app(request)
                    self.log(request, response.status)
                    self._write(connection, request, response)
                finally:
                    self._count(-1)
                if request.headers.get("connection", "").lower() == "close":
                    return
                connection.settimeout(KEEP_ALIVE_S)

    def _count(self, change: int) -> None:
        with self._lock:
            self.answering += change

    def _read(self, connection: socket.socket, data: bytes, peer: str) -> tuple[Request | None, bytes]:
        while b"\r\n\r\n" not in data:
            more = connection.recv(65536)
            if not more:
                return None, b""
            data += more
            if len(data) > HEAD_LIMIT_BYTES and b"\r\n\r\n" not in data:
                return self._refuse(connection)
        head, _, data = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        words = first.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return self._refuse(connection)
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = headers.get("content-length", "0")
        if not length.isdigit():
            return self._refuse(connection)
        if headers.get("expect", "").lower() == "100-continue":
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        while len(data) < int(length):
            more = connection.recv(65536)
            if not more:
                return None, b""
            data += more
        body, rest = data[: int(length)], data[int(length) :]
        return Request(words[0], words[1], headers, body, peer), rest

    def _refuse(self, connection: socket.socket) -> tuple[None, bytes]:
        connection.sendall(head(400, {"content-type": "text/plain; charset=utf-8", "connection": "close"}))
        connection.sendall(b"Invalid HTTP request received.")
        return None, b""

    def _write(self, connection: socket.socket, request: Request, response: Response) -> None:
        headers = {name.replace("_", "-"): value for name, value in response.headers.items()}
        if response.kind is not None:
            headers["content-type"] = response.kind
        if response.events is not None:
            headers["transfer-encoding"] = "chunked"
            connection.sendall(head(response.status, headers))
            for event in response.events:
                connection.sendall(b"%x\r\n%s\r\n" % (len(event), event))
            connection.sendall(b"0\r\n\r\n")
            return
        headers["content-length"] = str(len(response.body))
        body = b"" if request.method == "HEAD" else response.body
        connection.sendall(head(response.status, headers) + body)


def head(status: int, headers: dict[str, str]) -> bytes:
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())
    lines = [f"HTTP/1.1 {status} {REASONS.get(status, '')}", f"date: {date}", "server: uvicorn"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()

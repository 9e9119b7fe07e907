"""The HTTP client, against a small server that answers as the engine does, and as it does not."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rigappliance.config import RigConfig
from rigappliance.endpoint import (
    Chunk,
    Endpoint,
    Reply,
    UnreachableError,
    complete_one_token,
    endpoint_at,
    endpoint_of,
    healthy,
    is_completion,
    port_open,
    read_api_key,
    request,
    served_models,
    stream_chat,
)
from rigappliance.errors import ConfigError, ExitCode, RequestFailedError, UsageError
from rigappliance.launch.probes import prove_completion, prove_health, sum_tokens, tokens_processed


@dataclass
class Server:
    """Answers every request with ``status`` and ``body``, and remembers it."""

    endpoint: Endpoint
    status: int = 200
    body: bytes = b"{}"
    requests: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(Endpoint("127.0.0.1", 0))

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            server.requests.append((self.command, self.path, dict(self.headers), body))
            self.send_response(server.status)
            self.end_headers()
            self.wfile.write(server.body)

        do_GET = do_POST = answer  # noqa: N815 as http.server has it

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.endpoint = Endpoint("127.0.0.1", http.server_port)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    http.shutdown()
    thread.join()
    http.server_close()


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# --- where it is -----------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "host", "port", "tls", "back"),
    [
        ("http://rig-07:8123", "rig-07", 8123, False, "http://rig-07:8123"),
        ("http://rig-07", "rig-07", 8000, False, "http://rig-07:8000"),
        ("rig-07:9", "rig-07", 9, False, "http://rig-07:9"),
        ("rig-07", "rig-07", 8000, False, "http://rig-07:8000"),
        ("https://rig.example/v1", "rig.example", 443, True, "https://rig.example:443"),
        ("https://rig.example:8443", "rig.example", 8443, True, "https://rig.example:8443"),
        ("http://[::1]:8000/", "::1", 8000, False, "http://[::1]:8000"),
        ("http://192.0.2.7:65535", "192.0.2.7", 65535, False, "http://192.0.2.7:65535"),
    ],
)
def test_urls(url: str, host: str, port: int, tls: bool, back: str) -> None:
    endpoint = endpoint_at(url, "key")
    assert endpoint == Endpoint(host, port, "key", tls)
    assert endpoint.url == back


@pytest.mark.parametrize(
    "url",
    [
        "", "http://", "ftp://rig", "file:///etc", "http://rig:port", "http://rig:70000", "http://rig:-1", "://",
        "http://[::1", "http://a b:80",
    ],
)  # fmt: skip
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        endpoint_at(url)
    assert repr(url) in caught.value.found
    assert caught.value.exit_code is ExitCode.USAGE


@pytest.mark.parametrize(
    ("declared", "host"),
    [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("127.0.0.1", "127.0.0.1"), ("192.0.2.7", "192.0.2.7"), ("rig", "rig")],
)
def test_all_addresses_are_reached_at_the_local_one(declared: str, host: str) -> None:
    config = RigConfig.model_validate({"server": {"host": declared, "port": 8123}})
    assert endpoint_of(config) == Endpoint(host, 8123)


def test_the_key_is_read_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("  s3cret\n")
    config = RigConfig.model_validate({"server": {"api_key_file": str(file)}})
    assert endpoint_of(config).api_key == "s3cret"
    assert read_api_key(None) is None


@pytest.mark.parametrize(
    ("content", "found"), [(b" \n", "is empty"), (b"\xff\xfe", "not text"), (None, "No such file")]
)
def test_a_key_that_cannot_be_used_is_said(tmp_path: Path, content: bytes | None, found: str) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_api_key(file)
    assert found in caught.value.found
    assert str(file) in caught.value.found


# --- requests --------------------------------------------------------------


def test_the_key_goes_into_the_header_and_only_if_there_is_one(server: Server) -> None:
    healthy(server.endpoint, 5)
    healthy(Endpoint(server.endpoint.host, server.endpoint.port, "s3cret"), 5)
    assert [headers.get("Authorization") for _, _, headers, _ in server.requests] == [None, "Bearer s3cret"]
    assert [(method, path) for method, path, _, _ in server.requests] == [("GET", "/health")] * 2


def test_a_completion_asks_for_one_greedy_token(server: Server) -> None:
    complete_one_token(server.endpoint, "tiny", 5)
    [(method, path, headers, body)] = server.requests
    assert (method, path, headers["Content-Type"]) == ("POST", "/v1/completions", "application/json")
    assert json.loads(body) == {"model": "tiny", "prompt": "Hi", "max_tokens": 1, "temperature": 0}


@pytest.mark.parametrize("status", [200, 401, 404, 500, 503])
def test_any_status_is_a_reply(server: Server, status: int) -> None:
    server.status, server.body = status, b'{"a": 1}'
    reply = request(server.endpoint, "GET", "/health", 5)
    assert (reply.status, reply.ok, reply.json()) == (status, status == 200, {"a": 1})


def test_nobody_listens(closed_port: int) -> None:
    endpoint = Endpoint("127.0.0.1", closed_port)
    assert not port_open(endpoint, 1)
    with pytest.raises(UnreachableError, match="ConnectionRefusedError"):
        healthy(endpoint, 1)
    with pytest.raises(UnreachableError, match="ConnectionRefusedError"):
        list(stream_chat(endpoint, "tiny", "Hi", 8, 1))


@pytest.mark.parametrize("host", ["a..b", "x" * 70 + ".example", "no-such-host.invalid"])
def test_a_name_that_cannot_be_one_is_unreachable(host: str) -> None:
    endpoint = Endpoint(host, 80)
    assert not port_open(endpoint, 1)
    with pytest.raises(UnreachableError):
        healthy(endpoint, 1)
    with pytest.raises(UnreachableError):
        list(stream_chat(endpoint, "tiny", "Hi", 8, 1))


@pytest.mark.parametrize(
    "answer", [b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\ncut"]
)
def test_what_is_no_http_is_unreachable(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            connection.recv(4096)
            connection.sendall(answer)
            connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(UnreachableError):
            healthy(Endpoint("127.0.0.1", listener.getsockname()[1]), 5)
        thread.join()


def test_a_server_that_does_not_answer_is_unreachable_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = Endpoint("127.0.0.1", listener.getsockname()[1])
        assert port_open(endpoint, 1)
        with pytest.raises(UnreachableError, match="TimeoutError"):
            healthy(endpoint, 0.2)


@pytest.mark.parametrize(
    ("body", "models"),
    [
        (b'{"data": [{"id": "tiny"}, {"id": "other"}]}', ["tiny", "other"]),
        (b'{"data": []}', []),
        (b'{"data": [7, null]}', []),
        (b'{"data": "tiny"}', []),
        (b'{"error": {"message": "Unauthorized"}}', []),
        (b"[]", []),
        (b"<html>", []),
        (b"", []),
    ],
)
def test_served_models(server: Server, body: bytes, models: list[str]) -> None:
    server.body = body
    assert served_models(server.endpoint, 5) == models


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b'{"usage": {"completion_tokens": 1}}', True),
        (200, b'{"usage": {"completion_tokens": 7}}', True),
        (200, b'{"usage": {"completion_tokens": 0}}', False),
        (200, b'{"usage": {"completion_tokens": null}}', False),
        (200, b'{"usage": {"completion_tokens": "many"}}', False),
        (200, b'{"usage": {"completion_tokens": [1]}}', False),
        (200, b'{"usage": {}}', False),
        (200, b'{"usage": null}', False),
        (200, b'{"choices": [{"text": "x"}]}', False),
        (200, b'[{"usage": {"completion_tokens": 1}}]', False),
        (200, b"", False),
        (200, b"\xff", False),
        (500, b'{"usage": {"completion_tokens": 1}}', False),
        (503, b"", False),
    ],
)
def test_a_completion_is_one_that_carries_a_token(server: Server, status: int, body: bytes, expected: bool) -> None:
    assert is_completion(Reply(status, body)) is expected
    server.status, server.body = status, body
    proof = prove_completion(server.endpoint, "tiny", 5)
    assert proof.ok is expected
    assert expected or str(status) in proof.reason


# --- streams ---------------------------------------------------------------


def event(content: object) -> bytes:
    return b"data: " + json.dumps(content).encode() + b"\n\n"


def delta(text: str | None) -> dict[str, object]:
    return {"choices": [{"delta": {"content": text}}]}


def test_an_answer_arrives_in_pieces_and_its_counts_last(server: Server) -> None:
    usage = {"choices": [], "usage": {"prompt_tokens": 21, "completion_tokens": 3}}
    server.body = b"".join([
        event({"choices": [{"delta": {"role": "assistant", "content": ""}}]}), event(delta("Grüße")),
        b": keep-alive\n\n", event(delta(", ✓")), event(delta(None)), event({"choices": [{"delta": None}]}),
        event(usage), b"data: [DONE]\n\n",
    ])  # fmt: skip
    chunks = list(stream_chat(server.endpoint, "tiny", "Hi", 8, 5, temperature=0.5, extra={"seed": 1}))
    assert "".join(chunk.text for chunk in chunks) == "Grüße, ✓"
    assert chunks[-1] == Chunk("", 21, 3)
    [(method, path, _, body)] = server.requests
    assert (method, path) == ("POST", "/v1/chat/completions")
    assert json.loads(body) == {
        "model": "tiny", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8, "temperature": 0.5,
        "stream": True, "stream_options": {"include_usage": True}, "seed": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    "bad",
    [
        event({"error": {"message": "EngineCore encountered an issue", "code": 500}}),
        event({"error": "EngineCore encountered an issue"}),
        b"data: EngineCore encountered an issue\n\n",
    ],
)
def test_an_error_within_the_stream_is_raised_after_what_came_before(server: Server, bad: bytes) -> None:
    server.body = event(delta("begun")) + bad + event(delta("never"))
    stream = stream_chat(server.endpoint, "tiny", "Hi", 8, 5)
    assert next(stream) == Chunk("begun")
    with pytest.raises(RequestFailedError, match="EngineCore encountered an issue") as caught:
        next(stream)
    assert caught.value.exit_code is ExitCode.REQUEST_FAILED


@pytest.mark.parametrize(
    ("status", "body", "text", "remedy"),
    [
        (401, b'{"error": "Unauthorized"}', "Unauthorized", "server.api_key_file"),
        (404, b'{"error": {"message": "The model `x` does not exist."}}', "The model `x` does not exist.", "name"),
        (400, b'{"object": "error", "message": "max_tokens is too large"}', "max_tokens is too large", "engine's log"),
        (500, b"Internal Server Error", "Internal Server Error", "engine's log"),
        (500, b"", "", "engine's log"),
        (502, b"x" * 1000, "x" * 300, "engine's log"),
    ],
)
def test_a_refusal_says_status_text_and_what_to_do(
    server: Server, status: int, body: bytes, text: str, remedy: str
) -> None:
    server.status, server.body = status, body
    with pytest.raises(RequestFailedError) as caught:
        list(stream_chat(server.endpoint, "x", "Hi", 8, 5))
    head = f"{server.endpoint.url} answered HTTP {status}: "
    assert caught.value.found.startswith(head)
    said = caught.value.found.removeprefix(head)
    assert said == text or said == body.decode()[:300]
    assert text in said
    assert remedy in caught.value.remedy


# --- probes ----------------------------------------------------------------


def test_health_tells_a_dead_core_from_any_other_trouble(server: Server, closed_port: int) -> None:
    assert prove_health(server.endpoint).ok
    for status, dead in ((503, True), (500, False), (404, False)):
        server.status = status
        proof = prove_health(server.endpoint)
        assert (proof.ok, proof.dead) == (False, dead)
        assert str(status) in proof.reason
    proof = prove_health(Endpoint("127.0.0.1", closed_port))
    assert (proof.ok, proof.dead) == (False, False)
    assert not prove_completion(Endpoint("127.0.0.1", closed_port), "tiny", 1).ok


METRICS = """# HELP vllm:prompt_tokens_total Number of prefill tokens processed.
# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{engine="0",model_name="a b"} 21.0
vllm:prompt_tokens_total{engine="1",model_name="a b"} 1e3
vllm:generation_tokens_total{engine="0",model_name="a b"} 8.0
vllm:generation_tokens_created{engine="0",model_name="a b"} 1.7e9
vllm:prompt_tokens_total_created{engine="0"} 5.0
vllm:generation_tokens_total{engine="2"} nonsense
process_cpu_seconds_total 12.5
"""


def test_tokens_are_those_of_prompts_and_answers(server: Server, closed_port: int) -> None:
    assert sum_tokens(METRICS) == 1029
    assert sum_tokens("") is None
    assert sum_tokens("process_cpu_seconds_total 12.5\n") is None
    server.body = METRICS.encode() + b"\xff\n"
    assert tokens_processed(server.endpoint) == 1029
    server.status = 500
    assert tokens_processed(server.endpoint) is None
    assert tokens_processed(Endpoint("127.0.0.1", closed_port)) is None

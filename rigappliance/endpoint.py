"""The engine's OpenAI-compatible endpoint, as the control plane uses it.

http.client instead of a larger library: the supervisor stays in memory for as
long as the engine does and may use 60 MB.
"""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from rigappliance.errors import ConfigError, RequestFailedError, UsageError

if TYPE_CHECKING:
    from rigappliance.config import RigConfig

# Addresses that mean "all of this machine's" and cannot be connected to as such everywhere.
WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 compared, not bound

# UnicodeError: a host name that cannot be one, such as "rig..example".
UNREACHABLE = (OSError, http.client.HTTPException, UnicodeError)


class UnreachableError(Exception):
    """No HTTP answer: refused, reset, timed out or not HTTP."""


@dataclass(frozen=True)
class Endpoint:
    """Where the API is, and the key that it wants."""

    host: str
    port: int
    api_key: str | None = None
    tls: bool = False

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"


@dataclass(frozen=True)
class Reply:
    status: int
    body: bytes

    @property
    def ok(self) -> bool:
        return self.status == 200

    def json(self) -> Any:
        """The body as JSON, or None where it is something else."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


def endpoint_of(config: RigConfig) -> Endpoint:
    """The endpoint that ``config`` declares. Raises ``ConfigError`` where the key's file cannot be read."""
    host = WILDCARDS.get(config.server.host, config.server.host)
    return Endpoint(host, config.server.port, read_api_key(config.server.api_key_file))


def endpoint_at(url: str, api_key: str | None = None) -> Endpoint:
    """The endpoint at ``url``. Raises ``UsageError``."""
    error = UsageError(f"{url!r} is no endpoint", "a URL such as http://rig-07:8000", "correct --url")
    try:
        parts = urlsplit(url if "//" in url else f"//{url}")
        port = parts.port
    except ValueError:
        raise error from None
    if parts.scheme not in ("", "http", "https") or not parts.hostname or " " in parts.hostname or port == 0:
        raise error
    tls = parts.scheme == "https"
    return Endpoint(parts.hostname, port or (443 if tls else 8000), api_key, tls)


def read_api_key(path: Path | None) -> str | None:
    """Raises ``ConfigError`` where the file cannot be read or holds no key."""
    if path is None:
        return None
    try:
        key = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise ConfigError(
            f"cannot read server.api_key_file {path}: {reason}",
            "a file that holds the key and that the user of the engine may read",
            f"create it, for example: openssl rand -hex 32 > {path}",
        ) from error
    if not key:
        raise ConfigError(f"server.api_key_file {path} is empty", "a file that holds the key", "write the key into it")
    check_api_key(key, f"server.api_key_file {path}")
    return key


def check_api_key(key: str, source: str) -> None:
    """Raises ``ConfigError`` for a key that no HTTP header can carry, without a word of it."""
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ConfigError(
            f"{source} holds spaces, several lines or characters beyond ASCII",
            "one key on one line, of printable ASCII characters",
            "make one, for example: openssl rand -hex 32",
        )


def connect(endpoint: Endpoint, timeout_s: float) -> http.client.HTTPConnection:
    kind = http.client.HTTPSConnection if endpoint.tls else http.client.HTTPConnection
    return kind(endpoint.host, endpoint.port, timeout=timeout_s)


def request(
    endpoint: Endpoint, method: str, path: str, timeout_s: float, body: dict[str, object] | None = None
) -> Reply:
    """One request. ``timeout_s`` bounds each wait for the socket. Raises ``UnreachableError``."""
    connection = connect(endpoint, timeout_s)
    try:
        connection.request(method, path, json.dumps(body) if body is not None else None, headers(endpoint))
        response = connection.getresponse()
        return Reply(response.status, response.read())
    except UNREACHABLE as error:
        raise UnreachableError(f"{type(error).__name__}: {error}") from error
    finally:
        connection.close()


def headers(endpoint: Endpoint) -> dict[str, str]:
    common = {"Content-Type": "application/json"}
    return {**common, "Authorization": f"Bearer {endpoint.api_key}"} if endpoint.api_key else common


def port_open(endpoint: Endpoint, timeout_s: float) -> bool:
    """Something accepts connections there. Cheaper than a request for a port that is closed most of the time."""
    try:
        socket.create_connection((endpoint.host, endpoint.port), timeout_s).close()
    except (OSError, UnicodeError):
        return False
    return True


def healthy(endpoint: Endpoint, timeout_s: float) -> Reply:
    """``/health``: 200, or 503 once the engine is known dead. Raises ``UnreachableError``."""
    return request(endpoint, "GET", "/health", timeout_s)


def served_models(endpoint: Endpoint, timeout_s: float) -> list[str]:
    """Names under which models are served; empty where the answer is an error. Raises ``UnreachableError``."""
    content = request(endpoint, "GET", "/v1/models", timeout_s).json()
    data = content.get("data") if isinstance(content, dict) else None
    return [str(model.get("id")) for model in data if isinstance(model, dict)] if isinstance(data, list) else []


def complete_one_token(endpoint: Endpoint, model: str, timeout_s: float) -> Reply:
    """The smallest real completion: one greedy token. Raises ``UnreachableError``."""
    body: dict[str, object] = {"model": model, "prompt": "Hi", "max_tokens": 1, "temperature": 0}
    return request(endpoint, "POST", "/v1/completions", timeout_s, body)


def is_completion(reply: Reply) -> bool:
    """A completion that really carries a token, not just a 200."""
    content = reply.json()
    if not reply.ok or not isinstance(content, dict):
        return False
    usage = content.get("usage")
    tokens = usage.get("completion_tokens") if isinstance(usage, dict) else None
    return isinstance(tokens, int) and tokens >= 1


@dataclass(frozen=True)
class Chunk:
    """A piece of a streamed answer; the last one carries the token counts."""

    text: str
    prompt_tokens: int = 0
    completion_tokens: int = 0


def stream_chat(
    endpoint: Endpoint,
    model: str,
    prompt: str,
    max_tokens: int,
    timeout_s: float,
    temperature: float = 0.0,
    extra: Mapping[str, object] | None = None,
) -> Iterator[Chunk]:
    """Stream one answer; ``extra`` goes into the request as it is.

    Raises ``UnreachableError`` and ``RequestFailedError``.
    """
    body = {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": max_tokens,
        "temperature": temperature,
        "stream": True,
        "stream_options": {"include_usage": True},
        **(extra or {}),
    }
    connection = connect(endpoint, timeout_s)
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers(endpoint))
        response = connection.getresponse()
        if response.status != 200:
            raise request_failed(endpoint, Reply(response.status, response.read()))
        for line in response:
            event = line.strip().removeprefix(b"data:").strip()
            if not line.startswith(b"data:") or event == b"[DONE]":
                continue
            yield chunk_of(endpoint, event)
    except UNREACHABLE as error:
        raise UnreachableError(f"{type(error).__name__}: {error}") from error
    finally:
        connection.close()


def chunk_of(endpoint: Endpoint, event: bytes) -> Chunk:
    """One server-sent event. Raises ``RequestFailedError`` for an error inside the stream."""
    content = Reply(200, event).json()
    if not isinstance(content, dict) or "error" in content:
        raise request_failed(endpoint, Reply(200, event))
    choices = content.get("choices")
    first = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    delta = first.get("delta") or {}
    usage = content.get("usage") or {}
    return Chunk(
        str(delta.get("content") or ""),
        int(usage.get("prompt_tokens") or 0),
        int(usage.get("completion_tokens") or 0),
    )


def request_failed(endpoint: Endpoint, reply: Reply) -> RequestFailedError:
    content = reply.json()
    detail = content.get("error", content) if isinstance(content, dict) else None
    message = detail.get("message") if isinstance(detail, dict) else None
    text = str(message or reply.body[:300].decode(errors="replace")).strip()
    remedies = {401: "give the key with server.api_key_file or RIGAPPLIANCE_API_KEY", 404: "check the model's name"}
    return RequestFailedError(
        f"{endpoint.url} answered HTTP {reply.status}: {text}",
        "a completion",
        remedies.get(reply.status, "see `rigappliance status` and the engine's log"),
    )

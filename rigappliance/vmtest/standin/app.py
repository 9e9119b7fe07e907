"""The endpoints: which there are comes from the recorded log, what they answer from here."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import answers, checkpoint, completions
from .arguments import Arguments
from .engine import Engine
from .http import JSON, Request, Response
from .metrics import GENERATED, RUNNING, Metrics
from .recording import Recording
from .settings import Settings

GUARDED = ("/v1", "/v2", "/inference")
HANG_POLL_S = 0.2
ROUTE = re.compile(rb"Route: (\S+), Methods: ([A-Z, ]+)")


class App:
    """Answers requests. ``dead`` once the core is known to be; ``leave`` is then to be obeyed."""

    def __init__(self, arguments: Arguments, settings: Settings, engine: Engine, recording: Recording) -> None:
        self.arguments = arguments
        self.settings = settings
        self.engine = engine
        self.metrics = Metrics(settings.recordings, arguments.name)
        self.created = int(time.time())
        self.tokenizer = checkpoint.has_tokenizer(Path(arguments.model)) or not settings.get("check", True)
        self.dead = False
        self.leave = threading.Event()
        self.stop_listening: Callable[[], None] = lambda: None
        self.routes: dict[str, set[str]] = {}
        for line in recording.start:
            if match := ROUTE.search(line.data):
                methods = {method.strip() for method in match[2].decode().split(",")}
                self.routes.setdefault(match[1].decode(), set()).update(methods)
        # Mounted, and so not among the routes that the log shows.
        self.routes["/metrics/"] = {"GET", "HEAD"}
        self.handlers: dict[str, Callable[[Request], Response]] = {
            "/health": self.health,
            "/ping": self.health,
            "/version": lambda _: answers.reply({"version": "0.32.0"}),
            "/load": lambda _: answers.reply({"server_load": 0}),
            "/metrics": self.expose,
            "/metrics/": self.expose,
            "/v1/models": self.models,
            "/v1/completions": lambda request: completions.complete(self, request, chat=False),
            "/v1/chat/completions": lambda request: completions.complete(self, request, chat=True),
            "/tokenize": self.tokenize,
            "/detokenize": self.detokenize,
            "/docs": lambda _: Response(200, b"<html></html>", "text/html; charset=utf-8"),
            "/redoc": lambda _: Response(200, b"<html></html>", "text/html; charset=utf-8"),
            "/openapi.json": lambda _: answers.reply({"openapi": "3.1.0", "paths": {path: {} for path in self.routes}}),
        }

    @property
    def running(self) -> int:
        return int(self.metrics.counted[RUNNING])

    def __call__(self, request: Request) -> Response:
        if request.path.startswith(GUARDED) and not self.allowed(request):
            return answers.reply({"error": "Unauthorized"}, 401)
        methods = self.routes.get(request.path)
        if methods is None:
            return answers.detail(404, "Not Found")
        if request.method not in methods:
            return answers.detail(405, "Method Not Allowed", allow=", ".join(sorted(methods)))
        handler = self.handlers.get(request.path)
        return handler(request) if handler else answers.error(501, "a stand-in does not answer this", kind="Stand-in")

    def allowed(self, request: Request) -> bool:
        key = self.arguments.api_key
        return not key or request.headers.get("authorization") == f"Bearer {key}"

    def obey(self, told: object, key: str) -> Response | None:
        """Hang or answer with a status where the settings say so, for as long as they do."""
        while told == "hang":
            time.sleep(HANG_POLL_S)
            told = self.settings.get(key)
        return Response(told, b"", None) if isinstance(told, int) else None

    def health(self, _: Request) -> Response:
        told = self.settings.get("health")
        obeyed = self.obey(told, "health")
        if obeyed:
            return obeyed
        return Response(503 if self.dead and told != "alive" else 200, b"", None)

    def expose(self, request: Request) -> Response:
        obeyed = self.obey(self.settings.get("metrics"), "metrics")
        if self.settings.get("completions") == "busy":
            self.metrics.add(GENERATED, 1)
        version = "0.0.4" if request.path.endswith("/") else "1.0.0"
        kind = f"text/plain; version={version}; charset=utf-8"
        return obeyed or Response(200, self.metrics.exposition(), kind)

    def models(self, _: Request) -> Response:
        card = {
            "id": self.arguments.name,
            "object": "model",
            "created": self.created,
            "owned_by": "vllm",
            "root": self.arguments.model,
            "parent": None,
            "max_model_len": self.arguments.max_model_len,
            "permission": [permission()],
        }
        return answers.reply({"object": "list", "data": [card]})

    def content(self, request: Request) -> dict[str, Any] | Response:
        """The JSON object of a request, or what is answered to another body."""
        if request.headers.get("content-type", JSON).partition(";")[0] != JSON:
            return answers.invalid("Unsupported Media Type: Only 'application/json' is allowed", None)
        if not request.body:
            return answers.invalid(
                "{'type': 'missing', 'loc': 'body', 'msg': 'Field required', 'input': 'None'}", "body"
            )
        try:
            content = json.loads(request.body)
        except ValueError as error:
            place = f"body.{getattr(error, 'pos', 0)}"
            told = f"{{'type': 'json_invalid', 'loc': '{place}', 'msg': 'JSON decode error', "
            why = f"'input': '<dict of 0 items>', 'ctx': {{'error': '{getattr(error, 'msg', error)}'}}}}"
            return answers.invalid(told + why, place)
        if not isinstance(content, dict):
            return answers.invalid("{'type': 'model_attributes_type', 'loc': 'body'}", "body")
        return content

    def tokenize(self, request: Request) -> Response:
        content = self.content(request)
        if isinstance(content, Response):
            return content
        tokens = list(str(content.get("prompt", "")).encode())
        length = self.arguments.max_model_len
        return answers.reply({"count": len(tokens), "max_model_len": length, "tokens": tokens, "token_strs": None})

    def detokenize(self, request: Request) -> Response:
        content = self.content(request)
        if isinstance(content, Response):
            return content
        tokens = content.get("tokens", [])
        return answers.reply({"prompt": bytes(token % 256 for token in tokens).decode(errors="replace")})


def permission() -> dict[str, Any]:
    allowed = ("sampling", "logprobs", "view")
    names = ("create_engine", "sampling", "logprobs", "search_indices", "view", "fine_tuning")
    return {
        "id": answers.identity(chat=False).replace("cmpl", "modelperm"),
        "object": "model_permission",
        "created": int(time.time()),
        **{f"allow_{name}": name in allowed for name in names},
        "organization": "*",
        "group": None,
        "is_blocking": False,
    }

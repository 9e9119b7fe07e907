"""Bodies of the answers, in vLLM's shapes."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from typing import Any

from .http import Response

TEXT = "This sentence was said by a stand-in, which computes nothing; a real engine would know better."
DEAD = "EngineCore encountered an issue. See stack trace (above) for the root cause."
FINGERPRINT = "vllm-0.32.0-461589a6"
NAMES = {400: "BadRequestError", 404: "NotFoundError", 500: "InternalServerError"}
EVENTS = "text/event-stream; charset=utf-8"


def reply(content: object, status: int = 200) -> Response:
    return Response(status, json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode())


def error(status: int, message: str, param: str | None = None, kind: str | None = None) -> Response:
    return reply({"error": {"message": message, "type": kind or NAMES[status], "param": param, "code": status}}, status)


def detail(status: int, text: str, **headers: str) -> Response:
    response = reply({"detail": text}, status)
    response.headers = headers
    return response


def words(text: str, count: int) -> list[str]:
    """``count`` tokens, a word each; the text again and again."""
    parts = [word if i == 0 else f" {word}" for i, word in enumerate(text.split(" "))]
    return [parts[i % len(parts)] for i in range(count)]


def invalid(text: str, param: str | None) -> Response:
    """What FastAPI's validation refuses."""
    return error(400, f"1 validation error:\n  {text}", param, kind="Bad Request")


def usage(prompt: int, generated: int) -> dict[str, Any]:
    return {"prompt_tokens": prompt, "total_tokens": prompt + generated, "completion_tokens": generated}


def detailed_usage(prompt: int, generated: int) -> dict[str, Any]:
    return {**usage(prompt, generated), "prompt_tokens_details": None, "completion_tokens_details": None}


def identity(chat: bool) -> str:
    return ("chatcmpl-" if chat else "cmpl-") + f"{random.getrandbits(64):016x}"


def completion(model: str, texts: list[str], prompt: int, finish: str) -> dict[str, Any]:
    choice = {
        "index": 0,
        "text": "".join(texts),
        "logprobs": None,
        "finish_reason": finish,
        "stop_reason": None,
        "token_ids": None,
        "prompt_logprobs": None,
        "prompt_token_ids": None,
        "routed_experts": None,
    }
    return {
        "id": identity(False),
        "object": "text_completion",
        "created": int(time.time()),
        "model": model,
        "choices": [choice],
        "service_tier": None,
        "system_fingerprint": FINGERPRINT,
        "usage": detailed_usage(prompt, len(texts)),
        "kv_transfer_params": None,
        "ec_transfer_params": None,
        "metrics": None,
    }


def chat(model: str, texts: list[str], prompt: int, finish: str) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "".join(texts),
        "refusal": None,
        "annotations": None,
        "audio": None,
        "function_call": None,
        "reasoning": None,
    }
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": finish,
        "stop_reason": None,
        "token_ids": None,
        "routed_experts": None,
    }
    return {
        "id": identity(True),
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [choice],
        "service_tier": None,
        "system_fingerprint": FINGERPRINT,
        "usage": detailed_usage(prompt, len(texts)),
        "prompt_logprobs": None,
        "prompt_token_ids": None,
        "prompt_text": None,
        "kv_transfer_params": None,
        "ec_transfer_params": None,
        "metrics": None,
    }


class Stream:
    """The events of a streamed answer."""

    def __init__(self, chat: bool, model: str, prompt: int, with_usage: bool) -> None:
        self.chat = chat
        self.head = {
            "id": identity(chat),
            "object": "chat.completion.chunk" if chat else "text_completion",
            "created": int(time.time()),
            "model": model,
        }
        self.prompt = prompt
        self.with_usage = with_usage

    def begin(self) -> Iterator[bytes]:
        if self.chat:
            delta = {"role": "assistant", "content": ""}
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
            yield self._event({"choices": [choice], "prompt_token_ids": None, "prompt_text": None})

    def token(self, text: str, finish: str | None) -> bytes:
        """One token; the last one has a reason to be that."""
        choice: dict[str, Any] = {"index": 0, "logprobs": None, "finish_reason": finish, "token_ids": None}
        if self.chat:
            choice["delta"] = {"content": text}
        else:
            choice |= {"text": text, "prompt_token_ids": None}
        if finish or not self.chat:
            choice["stop_reason"] = None
        last = {"system_fingerprint": FINGERPRINT} if finish and not self.with_usage else {}
        return self._event({"choices": [choice], **last})

    def end(self, generated: int) -> Iterator[bytes]:
        if self.with_usage:
            last = {"usage": usage(self.prompt, generated), "system_fingerprint": FINGERPRINT}
            yield self._event({"choices": [], **last})
        yield b"data: [DONE]\n\n"

    def failed(self) -> Iterator[bytes]:
        content = json.loads(error(500, DEAD).body)
        yield b"data: " + json.dumps(content).encode() + b"\n\n"
        yield b"data: [DONE]\n\n"

    def _event(self, content: dict[str, Any]) -> bytes:
        return b"data: " + json.dumps({**self.head, **content}, separators=(",", ":")).encode() + b"\n\n"

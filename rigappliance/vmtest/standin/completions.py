"""Completions: tokens that core and workers step through, and the refusals before them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from . import answers
from .http import Request, Response
from .metrics import GENERATED, PROMPT, RUNNING, SUCCESS
from .part import PartGoneError

if TYPE_CHECKING:
    from .app import App

NO_PROMPT = "The decoder prompt cannot be empty"
NO_TEMPLATE = (
    "As of transformers v4.44, default chat template is no longer allowed, "
    "so you must provide a chat template if the tokenizer does not define one."
)
POLL_S = 0.2


def complete(app: App, request: Request, *, chat: bool) -> Response:
    content = app.content(request)
    if isinstance(content, Response):
        return content
    refusal = refused(app, content, chat)
    if refusal is not None:
        return refusal
    prompt = prompt_tokens(content)
    length, finish = count(app, content, prompt, chat)
    if content.get("stream"):
        options = content.get("stream_options") or {}
        stream = answers.Stream(chat, app.arguments.name, prompt, bool(options.get("include_usage")))
        response = Response(200, kind=answers.EVENTS)
        response.events = streamed(app, stream, prompt, length, finish)
        return response
    try:
        texts = list(generate(app, prompt, length))
    except PartGoneError:
        return of_the_dead(app)
    shape = answers.chat if chat else answers.completion
    return answers.reply(shape(app.arguments.name, texts, prompt, finish))


def refused(app: App, content: dict[str, Any], chat: bool) -> Response | None:
    """What does not even reach the engine, and what the settings refuse."""
    told = app.settings.get("completions")
    while told in ("hang", "busy"):
        time.sleep(POLL_S)
        told = app.settings.get("completions")
    wrong = invalid(content, chat)
    if wrong is not None:
        return wrong
    if app.dead:
        return of_the_dead(app)
    if told == "refuse":
        return answers.error(500, answers.DEAD)
    if told == "empty":
        return answers.reply({"choices": [], "usage": answers.usage(1, 0)})
    name, length = app.arguments.name, app.arguments.max_model_len
    if content.get("model") not in (None, name):
        return answers.error(404, f"The model `{content['model']}` does not exist. Valid aliases: {name}.", "model")
    if not app.tokenizer:
        return answers.error(400, NO_TEMPLATE if chat else NO_PROMPT)
    prompt, limit = prompt_tokens(content), content.get("max_tokens")
    if isinstance(limit, int) and limit < 1:
        return bad_parameter("max_tokens must be at least 1, got {}.", "max_tokens", limit)
    if isinstance(limit, int) and limit > length:
        text = f"max_tokens={{}} cannot be greater than max_model_len={length}. Please request fewer output tokens."
        return bad_parameter(text, "max_tokens", limit)
    if prompt >= length:
        text = f"This model's maximum context length is {length} tokens. However, your prompt contains at least {{}} "
        text += "input tokens, which exceeds this limit even without any output tokens. "
        return bad_parameter(text + "Please reduce the length of the input prompt.", "input_tokens", length + 1)
    return None


def invalid(content: dict[str, Any], chat: bool) -> Response | None:
    """What the request's schema refuses."""
    if chat and "messages" not in content:
        told = f"'loc': 'body.messages', 'msg': 'Field required', 'input': '<dict of {len(content)} items>'"
        return answers.invalid(f"{{'type': 'missing', {told}}}", "body.messages")
    if not chat and not content.get("prompt"):
        text = "Either prompt or prompt_embeds must be provided and non-empty. (parameter=prompt)"
        return answers.error(400, text, "prompt")
    temperature = content.get("temperature")
    if isinstance(temperature, str):
        told = "'msg': 'Input should be a valid number, unable to parse string as a number'"
        where = f"'loc': 'body.temperature', {told}, 'input': '{temperature}'"
        return answers.invalid(f"{{'type': 'float_parsing', {where}}}", "body.temperature")
    return None


def bad_parameter(text: str, name: str, value: int) -> Response:
    return answers.error(400, f"{text.format(value)} (parameter={name}, value={value})", name)


def of_the_dead(app: App) -> Response:
    """vLLM leaves as soon as a request has met the dead core."""
    app.dead = True
    if not app.settings.get("stay"):
        app.stop_listening()
        app.leave.set()
    return answers.error(500, answers.DEAD)


def count(app: App, content: dict[str, Any], prompt: int, chat: bool) -> tuple[int, str]:
    """Tokens of the answer, and why it ends there."""
    room = app.arguments.max_model_len - prompt
    limit = content.get("max_tokens") or content.get("max_completion_tokens") or (room if chat else 16)
    whole = len(str(app.settings.get("answer", answers.TEXT)).split(" "))
    if content.get("ignore_eos") or whole >= limit:
        return min(limit, room), "length"
    return whole, "stop"


def generate(app: App, prompt: int, count: int) -> Iterator[str]:
    """Tokens, each by a step of the core and of every worker. Raises ``PartGoneError``."""
    app.metrics.add(RUNNING, 1)
    try:
        for number, text in enumerate(answers.words(str(app.settings.get("answer", answers.TEXT)), count)):
            with app.engine.lock:
                app.engine.core.call("step", for_s=0)
                for one in app.engine.workers:
                    one.send("step", for_s=float(app.settings.get("token_s", 0)))
                for one in app.engine.workers:
                    one.receive()
            # Not before: a request that no part has worked on is no progress.
            app.metrics.add(PROMPT, 0 if number else prompt)
            app.metrics.add(GENERATED, 1)
            yield text
        app.metrics.add(SUCCESS, 1)
    finally:
        app.metrics.add(RUNNING, -1)


def streamed(app: App, stream: answers.Stream, prompt: int, count: int, finish: str) -> Iterator[bytes]:
    yield from stream.begin()
    try:
        for number, text in enumerate(generate(app, prompt, count), start=1):
            yield stream.token(text, finish if number == count else None)
    except PartGoneError:
        app.dead = True
        yield from stream.failed()
        return
    yield from stream.end(count)


def prompt_tokens(content: dict[str, Any]) -> int:
    """A byte a token, as in the small checkpoint's tokenizer."""
    prompt = content.get("prompt")
    if prompt is None:
        texts = [message.get("content", "") for message in content.get("messages") or [] if isinstance(message, dict)]
        return sum(len(str(text).encode()) + 5 for text in texts) + 3
    return len(prompt) if isinstance(prompt, list) else len(str(prompt).encode())

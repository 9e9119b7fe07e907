"""``rigappliance ask``: one prompt, the answer streamed."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from rigappliance.cli.options import config_options, json_option


@click.command(name="ask")
@config_options
@click.option("--url", help="Endpoint to ask, such as http://rig-07:8000; default: the configuration's.")
@click.option("--model", help="Model to ask; default: the first that is served.")
@click.option("--max-tokens", type=click.IntRange(min=1), default=256, show_default=True, help="Longest answer.")
@click.option("--temperature", type=click.FloatRange(min=0), default=0.0, show_default=True, help="0: always the same.")
@click.option("--timeout", default="10min", show_default=True, help="Longest silence, such as 90s.")
@json_option
@click.argument("prompt", nargs=-1, required=True)
def command(
    config: Path | None,
    profile: str | None,
    url: str | None,
    model: str | None,
    max_tokens: int,
    temperature: float,
    timeout: str,
    as_json: bool,
    prompt: tuple[str, ...],
) -> None:
    """Send PROMPT and stream the answer; token counts and rates go to standard error.

    \b
    Examples:
      rigappliance ask "Why is the sky blue?"
      rigappliance ask --url http://rig-07:8000 --json Hello
    """
    from rigappliance.cli.wait import duration, target
    from rigappliance.endpoint import UnreachableError, served_models, stream_chat
    from rigappliance.errors import NotRunningError

    silence_s = duration(timeout, above_zero=True)
    endpoint, launch = target(config, profile, url)
    started = time.monotonic()
    try:
        name = model or next(iter(served_models(endpoint, min(silence_s, 10.0))), "")
        first_s = None
        parts = []
        prompt_tokens = completion_tokens = 0
        for chunk in stream_chat(endpoint, name, " ".join(prompt), max_tokens, silence_s, temperature):
            if chunk.text and first_s is None:
                first_s = time.monotonic() - started
            parts.append(chunk.text)
            prompt_tokens = chunk.prompt_tokens or prompt_tokens
            completion_tokens = chunk.completion_tokens or completion_tokens
            if not as_json:
                click.echo(chunk.text, nl=False)
    except UnreachableError as error:
        doing = launch.describe() if launch else ""
        raise NotRunningError(
            f"no answer from {endpoint.url}: {error}" + (f"; {doing}" if doing else ""),
            "a running engine",
            "start one with `rigappliance launch`, or wait for it with `rigappliance wait`",
        ) from error
    total_s = time.monotonic() - started
    decode_s = total_s - (first_s or total_s)
    rate = (completion_tokens - 1) / decode_s if completion_tokens > 1 and decode_s > 0 else 0.0
    if as_json:
        numbers = {
            "answer": "".join(parts),
            "model": name,
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "first_token_s": round(first_s or total_s, 4),
            "total_s": round(total_s, 4),
            "tokens_per_s": round(rate, 2),
        }
        click.echo(json.dumps(numbers))
        return
    click.echo()
    click.echo(
        f"{prompt_tokens} prompt tokens, {completion_tokens} answered in {total_s:.2f} s, "
        f"first after {first_s or total_s:.2f} s, then {rate:.1f} tokens/s",
        err=True,
    )

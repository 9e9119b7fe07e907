"""What the engine's log says about throughput, which is another quantity than what the machine can do.

Every ten seconds the log tells prompt and generated tokens since the last line,
divided by ten.  A prompt is counted once, when it has been read.  So a question
of forty tokens is «4.0 tokens/s» on one line and 0.0 on the next ones, whether it
took a tenth of a second to read or eight: the number says how long prompts were,
not how fast they are read.  The rig's «prompt throughput about 4 tok/s» is that
average; capability is :func:`rigappliance.plan.times.prefill`.
"""

from __future__ import annotations

from dataclasses import dataclass

from rigappliance.plan.coefficients import Coefficients
from rigappliance.plan.times import decode, prefill
from rigappliance.plan.times_inputs import Machine
from rigappliance.plan.times_model import Model
from rigappliance.plan.times_split import Split


@dataclass(frozen=True)
class Requests:
    """What one user sends, one request after another. Tokens of the prompt with its template, and of the answer."""

    prompt_tokens: int
    answer_tokens: int


# Qwen2.5's chat template and default system prompt take about thirty tokens, a short question ten.
SHORT_QUESTION = Requests(prompt_tokens=40, answer_tokens=128)


@dataclass(frozen=True)
class LogLine:
    """Tokens a second as the log averages them."""

    prompt_tokens_s: float
    generation_tokens_s: float


def logged(
    model: Model, machine: Machine, split: Split, requests: Requests, batched_tokens: int, known: Coefficients
) -> LogLine:
    """The line of a window in which a prompt was read; the next ones say 0.0 until another request comes."""
    reading = requests.prompt_tokens
    reading_s = reading / prefill(model, machine, split, reading, batched_tokens, known).tokens_s
    writing = decode(model, machine, split, 1, known, reading + requests.answer_tokens // 2).tokens_s
    window = known.number("times.log_window")
    # Requests that are short against the window fill it one after another; one that is long is counted once.
    prompts = max(1.0, window / (reading_s + requests.answer_tokens / writing))
    busy = min(1.0, reading_s * prompts / window)
    return LogLine(reading * prompts / window, writing * (1 - busy))

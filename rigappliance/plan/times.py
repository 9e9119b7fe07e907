"""How fast a layout reads a prompt and writes an answer, and what holds it up.

A step is the sum of what its critical path does: weights and KV cache from the
card's memory (or arithmetic, where that takes longer), the kernels between,
what tensor parallelism sums over ranks twice a layer, what pipeline stages hand
over, and the CPU.  The coefficients are in ``data/coefficients.toml``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Literal

from rigappliance.plan.coefficients import Coefficients
from rigappliance.plan.links import all_gather_s, all_reduce_s, hand_over_s
from rigappliance.plan.times_cpu import cpu_s
from rigappliance.plan.times_inputs import Machine
from rigappliance.plan.times_model import Model
from rigappliance.plan.times_split import Split

Limit = Literal["memory bandwidth", "compute", "kernels", "link latency", "link bandwidth", "CPU cores"]
Parts = dict[Limit, float]
# Activations and logits travel in 16 bits; between stages go the hidden state and the residual.
ACTIVATION_BYTES = 2
HANDED_OVER = 2
# Sums over ranks: attention's and the MLP's output of each layer, and the embedding, whose vocabulary is shared out.
SUMS_PER_LAYER = 2


@dataclass(frozen=True)
class Speed:
    """Tokens a second, and the seconds of a step by what they go to."""

    tokens_s: float
    parts: Mapping[Limit, float]

    @property
    def limit(self) -> Limit:
        """What most of a step goes to."""
        return max(self.parts, key=lambda name: self.parts[name])


def decode(
    model: Model, machine: Machine, split: Split, concurrency: int, known: Coefficients, context_tokens: int = 1024
) -> Speed:
    """All requests' tokens a second together while ``concurrency`` answers are written.

    A pipeline has as many batches under way as it has stages, if there are requests enough; one request passes
    through all stages one after another.
    """
    batches = min(concurrency, split.pipeline_parallel)
    sequences = ceil(concurrency / batches)
    stages = [
        stage_parts(model, machine, split, stage, sequences, sequences * context_tokens, sequences, known)
        for stage in range(split.pipeline_parallel)
    ]
    path, period = through(model, machine, split, stages, sequences, batches, known)
    return Speed(concurrency / period, path)


def prefill(
    model: Model, machine: Machine, split: Split, prompt_tokens: int, batched_tokens: int, known: Coefficients
) -> Speed:
    """Prompt tokens a second that one long prompt is read with: capability, not what the log's average says.

    The prompt is read in pieces of ``batched_tokens``, which stages of a pipeline work on at the same time.
    """
    pieces = ceil(prompt_tokens / batched_tokens)
    tokens = ceil(prompt_tokens / pieces)
    stages = [
        stage_parts(model, machine, split, stage, tokens, prompt_tokens, 1, known)
        for stage in range(split.pipeline_parallel)
    ]
    path, _ = through(model, machine, split, stages, tokens, 1, known)
    slowest = max(sum(stage.values()) for stage in stages)
    whole = sum(path.values())
    step = whole if split.pipeline_parallel == 1 else slowest
    return Speed(prompt_tokens / (whole + (pieces - 1) * step), path)


def through(
    model: Model,
    machine: Machine,
    split: Split,
    stages: list[Parts],
    tokens: int,
    batches: int,
    known: Coefficients,
) -> tuple[Parts, float]:
    """What one batch meets on its way through all stages, and the seconds after which ``batches`` are through."""
    size = tokens * model.hidden_size * HANDED_OVER * ACTIVATION_BYTES / split.tensor_parallel
    # What the ranks of a stage each hand over in shares, the next stage's ranks exchange.
    latency = hand_over_s(0, machine.link, known) + all_gather_s(0, split.tensor_parallel, machine.link, known)
    hop = hand_over_s(size, machine.link, known)
    hop += all_gather_s(size * split.tensor_parallel, split.tensor_parallel, machine.link, known)
    work, waiting = cpu_s(model, machine, split, known)
    hops = split.pipeline_parallel - 1
    between: Parts = {
        "link latency": latency * hops,
        "link bandwidth": (hop - latency) * hops,
        "CPU cores": work + waiting,
    }
    path = added([*stages, between])
    slowest = max(sum(stage.values()) for stage in stages)
    return path, max(sum(path.values()), batches * max(slowest, work))


def added(several: Iterable[Parts]) -> Parts:
    whole: Parts = {}
    for parts in several:
        for name, seconds in parts.items():
            whole[name] = whole.get(name, 0.0) + seconds
    return whole


def stage_parts(
    model: Model,
    machine: Machine,
    split: Split,
    stage: int,
    tokens: int,
    read_tokens: int,
    answers: int,
    known: Coefficients,
) -> Parts:
    """Seconds of one stage for ``tokens`` that attend to ``read_tokens`` in the KV cache; ``answers`` need logits."""
    ranks, layers = split.tensor_parallel, split.layers(model)[stage]
    first, last = stage == 0, stage == split.pipeline_parallel - 1
    share = layers / model.layers
    weights = (model.body_bytes * share * model.read_share(tokens) + model.end_bytes * last) / ranks
    kv_read = 2 * max(1, model.kv_heads / ranks) * model.head_dim * layers * split.kv_bytes * read_tokens
    reading = weights / known.number("times.memory_efficiency") + kv_read / known.number("times.kv_efficiency")
    reading /= machine.card.memory_bandwidth

    matrices = 2 * tokens * (model.inputs_split + model.outputs_split - model.idle) * layers
    head = 2 * answers * model.vocab_size * model.hidden_size * last
    # Scores and their sum over values; in a prompt a token sees half of the others on average.
    seen = read_tokens * (tokens / answers) / (2 if tokens > answers else 1)
    attention = 4 * model.heads * model.head_dim * seen * layers
    rate = machine.card.fp16_flops * known.number("times.compute_efficiency")
    computing = (matrices + head + attention) / ranks / rate

    parts: Parts = {
        # A kernel reads and computes at the same time; the longer of the two is what it takes.
        "memory bandwidth" if reading >= computing else "compute": max(reading, computing),
        "kernels": layers * known.number("times.layer_overhead"),
    }
    if ranks > 1:
        sums = SUMS_PER_LAYER * layers + first
        size = tokens * model.hidden_size * ACTIVATION_BYTES
        logits = answers * model.vocab_size * ACTIVATION_BYTES
        latency = all_reduce_s(0, ranks, machine.link, known) * sums
        latency += all_gather_s(0, ranks, machine.link, known) * last
        whole = all_reduce_s(size, ranks, machine.link, known) * sums
        whole += all_gather_s(logits, ranks, machine.link, known) * last
        parts["link latency"] = latency
        parts["link bandwidth"] = whole - latency
    return parts

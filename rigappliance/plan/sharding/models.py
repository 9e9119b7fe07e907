"""The modules of the architectures whose classes in the pinned engine have been read (vllm/model_executor/models).

An architecture that is not here is unknown, however much its config.json looks like another's: a class may hold a norm,
a bias or a whole tower more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from rigappliance.plan.sharding.parts import VOCABULARY_PADDING, Experts, Linear, Module, Plain, divided, padded
from rigappliance.plan.sharding.rotary import rotary_table
from rigappliance.plan.tensors import CheckpointShape, UnknownShapeError

Config = dict[str, Any]


@dataclass(frozen=True)
class Rank:
    """Where a rank stands. ``layers`` are those of its stage."""

    tensor_parallel: int
    first_stage: bool
    last_stage: bool
    layers: range


@dataclass(frozen=True)
class Architecture:
    """What sets one decoder apart from the others; the callables read config.json."""

    qkv_bias: Callable[[Config], bool] = lambda config: False
    o_bias: Callable[[Config], bool] = lambda config: False
    mlp_bias: Callable[[Config], bool] = lambda config: False
    query_key_norms: bool = False
    fused_sources: bool = False
    # Qwen2's class derives the head size and ignores config.json's.
    own_head_dim: bool = True
    experts: str = ""
    # The classes of mixtures build embedding, final norm and head on every stage.
    ends_everywhere: bool = False


def flag(*keys: str) -> Callable[[Config], bool]:
    """The first of ``keys`` that config.json has; false without."""
    return lambda config: bool(next((config[key] for key in keys if config.get(key) is not None), False))


LLAMA = Architecture(
    qkv_bias=lambda config: bool(config.get("qkv_bias", config.get("attention_bias") or config.get("bias"))),
    o_bias=lambda config: bool(config.get("attention_bias") or config.get("bias")),
    mlp_bias=flag("mlp_bias"),
)
ARCHITECTURES = {
    "LlamaForCausalLM": LLAMA,
    "MistralForCausalLM": LLAMA,
    "Qwen2ForCausalLM": Architecture(qkv_bias=lambda config: True, own_head_dim=False),
    "Qwen3ForCausalLM": Architecture(qkv_bias=flag("attention_bias"), query_key_norms=True),
    "Phi3ForCausalLM": Architecture(fused_sources=True),
    "Qwen3MoeForCausalLM": Architecture(
        qkv_bias=flag("attention_bias"), query_key_norms=True, experts="mlp", ends_everywhere=True
    ),
    "MixtralForCausalLM": Architecture(experts="block_sparse_moe", ends_everywhere=True),
}


def modules(shape: CheckpointShape, rank: Rank) -> Iterator[Module]:
    """Every module of one rank. Raises ``UnknownShapeError`` and ``ImpossibleLayoutError``."""
    architecture = ARCHITECTURES.get(shape.architecture)
    if architecture is None or "text_config" in shape.config or unread(shape.config):
        raise UnknownShapeError(
            f"the engine's class for {shape.architecture or 'a checkpoint without an architecture'} is not known here",
            f"one of {', '.join(ARCHITECTURES)}",
            "the plan goes on with an estimate; calibrate it with a real start",
        )
    if rank.first_stage or (shape.tied and rank.last_stage) or architecture.ends_everywhere:
        yield vocabulary("model.embed_tokens", shape, rank)
    for layer in rank.layers:
        yield from decoder_layer(shape, architecture, rank, f"model.layers.{layer}", layer)
    if rank.layers:
        # All layers share it; the first registers it.
        yield rotary_table(shape, head_dim(shape, architecture), f"model.layers.{rank.layers[0]}.self_attn.rotary_emb")
    if rank.last_stage or architecture.ends_everywhere:
        yield norm("model.norm", shape.hidden_size)
    if (rank.last_stage or architecture.ends_everywhere) and not shape.tied:
        yield vocabulary("lm_head", shape, rank)


# Keys that make the classes build more than what is described here.
UNREAD = ("ada_rms_norm_t_cond", "dual_chunk_attention_config", "qk_norm", "shared_expert_intermediate_size")


def unread(config: Any) -> bool:
    return any(config.get(key) for key in UNREAD)


def head_dim(shape: CheckpointShape, architecture: Architecture) -> int:
    return shape.head_dim if architecture.own_head_dim else shape.hidden_size // shape.heads


def norm(name: str, size: int) -> Plain:
    return Plain(f"{name}.weight", (size,), f"{name}.weight", (size,))


def vocabulary(name: str, shape: CheckpointShape, rank: Rank) -> Plain:
    """Embedding or head: padded, then shared out by rows."""
    rows = divided("the padded vocabulary", padded(shape.vocab_size, VOCABULARY_PADDING), rank.tensor_parallel)
    # Some checkpoints keep the embedding of a tied head under either name.
    return Plain(f"{name}.weight", (rows, shape.hidden_size), f"{name}.weight", (shape.vocab_size, shape.hidden_size))


def decoder_layer(
    shape: CheckpointShape, architecture: Architecture, rank: Rank, prefix: str, index: int
) -> Iterator[Module]:
    yield from attention(shape, architecture, rank, f"{prefix}.self_attn")
    if architecture.experts and sparse(shape, index):
        yield from experts(shape, rank, f"{prefix}.{architecture.experts}")
    else:
        yield from mlp(shape, architecture, rank, f"{prefix}.mlp")
    yield norm(f"{prefix}.input_layernorm", shape.hidden_size)
    yield norm(f"{prefix}.post_attention_layernorm", shape.hidden_size)


def attention(shape: CheckpointShape, architecture: Architecture, rank: Rank, prefix: str) -> Iterator[Module]:
    ranks, hidden, size = rank.tensor_parallel, shape.hidden_size, head_dim(shape, architecture)
    queries, keys = shape.heads * size, shape.kv_heads * size
    own_queries = divided("the attention heads", shape.heads, ranks) * size
    own_keys = own_kv_heads(shape, ranks) * size
    sources = (
        ((f"{prefix}.qkv_proj", queries + 2 * keys),)
        if architecture.fused_sources
        else ((f"{prefix}.q_proj", queries), (f"{prefix}.k_proj", keys), (f"{prefix}.v_proj", keys))
    )
    config = dict(shape.config)
    yield Linear(
        f"{prefix}.qkv_proj", sources, hidden, hidden, (own_queries, own_keys, own_keys), architecture.qkv_bias(config)
    )
    yield Linear(
        f"{prefix}.o_proj",
        ((f"{prefix}.o_proj", hidden),),
        own_queries,
        queries,
        (hidden,),
        architecture.o_bias(config),
    )
    if architecture.query_key_norms:
        yield norm(f"{prefix}.q_norm", size)
        yield norm(f"{prefix}.k_norm", size)


def own_kv_heads(shape: CheckpointShape, ranks: int) -> int:
    """KV heads are shared out, or, where there are fewer than ranks, every one is held by several."""
    if shape.kv_heads >= ranks:
        return divided("the KV heads", shape.kv_heads, ranks)
    divided("the ranks over the KV heads", ranks, shape.kv_heads)
    return 1


def mlp(shape: CheckpointShape, architecture: Architecture, rank: Rank, prefix: str) -> Iterator[Module]:
    hidden, whole = shape.hidden_size, shape.intermediate_size
    own = divided("the MLP's intermediate size", whole, rank.tensor_parallel)
    bias = architecture.mlp_bias(dict(shape.config))
    sources = (
        ((f"{prefix}.gate_up_proj", 2 * whole),)
        if architecture.fused_sources
        else ((f"{prefix}.gate_proj", whole), (f"{prefix}.up_proj", whole))
    )
    yield Linear(f"{prefix}.gate_up_proj", sources, hidden, hidden, (own, own), bias)
    yield Linear(f"{prefix}.down_proj", ((f"{prefix}.down_proj", hidden),), own, whole, (hidden,), bias)


def sparse(shape: CheckpointShape, index: int) -> bool:
    """Whether a layer of a mixture of experts is one (Qwen3-MoE may have dense layers between)."""
    step = shape.config.get("decoder_sparse_step", 1)
    return index not in (shape.config.get("mlp_only_layers") or ()) and (index + 1) % step == 0


def experts(shape: CheckpointShape, rank: Rank, prefix: str) -> Iterator[Module]:
    config = shape.config
    count = config.get("num_experts", config.get("num_local_experts"))
    whole = config.get("moe_intermediate_size", config.get("intermediate_size"))
    if not isinstance(count, int) or not isinstance(whole, int):
        raise UnknownShapeError(
            f"config.json of {shape.name} does not count its experts",
            "num_experts or num_local_experts",
            "download config.json again",
        )
    hidden, gate = shape.hidden_size, f"{prefix}.gate"
    yield Linear(gate, ((gate, count),), hidden, hidden, (count,), quantisable=False)
    own = divided("an expert's intermediate size", whole, rank.tensor_parallel)
    yield Experts(f"{prefix}.experts.routed_experts", count, hidden, own)

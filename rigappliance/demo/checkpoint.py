"""A tiny Qwen2 checkpoint, made on the spot without torch.

It has everything that the real one has: several safetensors shards with an
index, a byte-level BPE tokenizer and a chat template.  Its weights are not
trained but *constructed*, so that greedy decoding has one known answer
(:data:`ANSWER`): the residual stream of every ordinary token carries one shared
direction, and each word of the answer a direction of its own that the output
head maps to the next word.  Attention and MLP add noise far below that signal.
A wrong weight anywhere on that path therefore changes the answer, which is
what makes a completion from this model a proof and not just a sign of life.
"""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ANSWER = (
    "This sentence was computed by the real engine, one token at a time, from "
    "weights made minutes ago; your rig will say smarter things."
)

# ChatML, the chat format of Qwen2.5: https://huggingface.co/Qwen/Qwen2.5-72B-Instruct
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")

# The signal outweighs the noise by about a thousand, so rounding to bfloat16
# and any order of summation leave the greedy answer as it is.
SIGNAL = 1.0
NOISE = 0.001


@dataclass(frozen=True)
class TinyQwen2:
    """Shape of the checkpoint. ``head_dim`` is ``hidden_size / heads``; the engine needs 64 or more."""

    hidden_size: int = 256
    intermediate_size: int = 512
    layers: int = 4
    heads: int = 4
    kv_heads: int = 2
    max_position_embeddings: int = 4096
    shards: int = 3
    seed: int = 0

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.heads


def byte_alphabet() -> list[str]:
    """The 256 printable characters by which byte-level BPE writes bytes (the GPT-2 alphabet)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    shifted = iter(range(256))
    return [chr(b) if b in printable else chr(256 + next(shifted)) for b in range(256)]


def answer_words() -> list[str]:
    """The answer as tokens, one a word; ``Ġ`` is how byte-level BPE writes a leading space."""
    words = ANSWER.split(" ")
    return [words[0], *(f"Ġ{word}" for word in words[1:])]


@dataclass(frozen=True)
class Vocabulary:
    """Token strings by id: the bytes, the words of the answer, the special tokens."""

    tokens: tuple[str, ...]
    answer_ids: tuple[int, ...]
    end_id: int


def vocabulary() -> Vocabulary:
    """Raises ``ValueError`` if the answer repeats a word, since each needs one successor."""
    words = answer_words()
    if len(set(words)) != len(words):
        raise ValueError(f"the answer repeats a word: {ANSWER!r}")
    tokens = (*byte_alphabet(), *words, *SPECIAL_TOKENS)
    first = 256
    return Vocabulary(tokens, tuple(range(first, first + len(words))), tokens.index("<|im_end|>"))


class Bf16:
    """bfloat16 as bytes: the upper half of an IEEE 754 single, little-endian."""

    @staticmethod
    def value(x: float) -> bytes:
        return struct.pack("<f", x)[2:]

    @staticmethod
    def noise(count: int, rng: random.Random) -> bytearray:
        """``count`` numbers of random sign and mantissa whose magnitude is in [NOISE, 2 NOISE)."""
        template = struct.unpack("<H", Bf16.value(NOISE))[0] & 0x7F80
        low = bytes((template & 0x80) | (b & 0x7F) for b in range(256))
        high = bytes((template >> 8) | (b & 0x80) for b in range(256))
        out = bytearray(2 * count)
        out[0::2] = rng.randbytes(count).translate(low)
        out[1::2] = rng.randbytes(count).translate(high)
        return out


def tensors(shape: TinyQwen2) -> Iterator[tuple[str, tuple[int, ...], bytes]]:
    """Name, shape and bfloat16 bytes of every tensor, in the order in which Qwen2 uses them.

    Raises ``ValueError`` where the hidden size has no room for the answer's directions.
    """
    words = vocabulary()
    if len(words.answer_ids) + 1 > shape.hidden_size:
        raise ValueError(
            f"hidden_size {shape.hidden_size} is smaller than the answer's {len(words.answer_ids) + 1} directions"
        )
    rng = random.Random(shape.seed)  # noqa: S311 reproducible noise, no secret
    hidden, kv = shape.hidden_size, shape.kv_heads * shape.head_dim

    def noisy(*dims: int) -> bytearray:
        count = 1
        for dim in dims:
            count *= dim
        return Bf16.noise(count, rng)

    def with_signal(places: dict[int, int]) -> bytes:
        """A vocabulary × hidden matrix of noise with SIGNAL at (row, column) of ``places``."""
        matrix = noisy(len(words.tokens), hidden)
        for row, column in places.items():
            at = 2 * (row * hidden + column)
            matrix[at : at + 2] = Bf16.value(SIGNAL)
        return bytes(matrix)

    direction = dict.fromkeys(range(len(words.tokens)), 0)
    direction.update({token: i for i, token in enumerate(words.answer_ids, start=1)})
    successors = {token: i for i, token in enumerate((*words.answer_ids, words.end_id))}

    yield "model.embed_tokens.weight", (len(words.tokens), hidden), with_signal(direction)
    one = Bf16.value(1.0)
    for i in range(shape.layers):
        prefix = f"model.layers.{i}"
        for name, rows, columns in (
            ("self_attn.q_proj", hidden, hidden),
            ("self_attn.k_proj", kv, hidden),
            ("self_attn.v_proj", kv, hidden),
            ("self_attn.o_proj", hidden, hidden),
            ("mlp.gate_proj", shape.intermediate_size, hidden),
            ("mlp.up_proj", shape.intermediate_size, hidden),
            ("mlp.down_proj", hidden, shape.intermediate_size),
        ):
            yield f"{prefix}.{name}.weight", (rows, columns), bytes(noisy(rows, columns))
        for name, rows in (("q_proj", hidden), ("k_proj", kv), ("v_proj", kv)):
            yield f"{prefix}.self_attn.{name}.bias", (rows,), bytes(noisy(rows))
        for name in ("input_layernorm", "post_attention_layernorm"):
            yield f"{prefix}.{name}.weight", (hidden,), one * hidden
    yield "model.norm.weight", (hidden,), one * hidden
    yield "lm_head.weight", (len(words.tokens), hidden), with_signal(successors)


def safetensors_bytes(entries: list[tuple[str, tuple[int, ...], bytes]]) -> bytes:
    """One shard: 8 bytes of header length, the JSON header, the data (the safetensors format)."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, dims, data in entries:
        header[name] = {
            "dtype": "BF16",
            "shape": list(dims),
            "data_offsets": [offset, offset + len(data)],
        }
        offset += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(data for _, _, data in entries)


def model_config(shape: TinyQwen2) -> dict[str, object]:
    words = vocabulary()
    return {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "torch_dtype": "bfloat16",
        "hidden_act": "silu",
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.intermediate_size,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "max_position_embeddings": shape.max_position_embeddings,
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0,
        "tie_word_embeddings": False,
        "vocab_size": len(words.tokens),
        "bos_token_id": words.tokens.index("<|endoftext|>"),
        "eos_token_id": words.end_id,
    }


def tokenizer_files() -> dict[str, object]:
    words = vocabulary()
    special = [
        {
            "id": words.tokens.index(token),
            "content": token,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for token in SPECIAL_TOKENS
    ]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True}
    return {
        "tokenizer.json": {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": special,
            "normalizer": None,
            "pre_tokenizer": byte_level,
            "post_processor": None,
            "decoder": byte_level,
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": False,
                "byte_fallback": False,
                "ignore_merges": False,
                "vocab": {t: i for i, t in enumerate(words.tokens) if t not in SPECIAL_TOKENS},
                "merges": [],
            },
        },
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
            "clean_up_tokenization_spaces": False,
            "chat_template": CHAT_TEMPLATE,
        },
        "generation_config.json": {"eos_token_id": words.end_id, "do_sample": False},
    }


def write_checkpoint(directory: Path, shape: TinyQwen2 | None = None) -> int:
    """Write the checkpoint below ``directory`` and return the bytes of its tensors.

    The index comes last, so a directory that has one is whole.
    Raises ``OSError`` where the directory cannot be written.
    """
    shape = shape or TinyQwen2()
    directory.mkdir(parents=True, exist_ok=True)
    entries = list(tensors(shape))
    total = sum(len(data) for _, _, data in entries)

    groups: list[list[tuple[str, tuple[int, ...], bytes]]] = [[]]
    for entry in entries:
        filled = sum(len(data) for _, _, data in groups[-1])
        if filled >= total / shape.shards and len(groups) < shape.shards:
            groups.append([])
        groups[-1].append(entry)

    weight_map: dict[str, str] = {}
    for i, group in enumerate(groups, start=1):
        file = f"model-{i:05d}-of-{len(groups):05d}.safetensors"
        (directory / file).write_bytes(safetensors_bytes(group))
        weight_map.update({name: file for name, _, _ in group})
    for file, content in {"config.json": model_config(shape), **tokenizer_files()}.items():
        (directory / file).write_text(json.dumps(content, indent=1), encoding="utf-8")
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index, indent=1), encoding="utf-8")
    return total

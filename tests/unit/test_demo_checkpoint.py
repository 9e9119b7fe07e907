"""The demo's checkpoint: a real one in miniature, the same bytes every time."""

from __future__ import annotations

import hashlib
import json
import math
import random
import struct
from pathlib import Path
from typing import Any

import pytest

from rigappliance.demo.checkpoint import (
    ANSWER,
    NOISE,
    Bf16,
    TinyQwen2,
    answer_words,
    byte_alphabet,
    vocabulary,
    write_checkpoint,
)
from rigappliance.facts.model import read_model_facts


def digests(directory: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(directory.iterdir())}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("checkpoint")
    write_checkpoint(directory)
    return directory


def test_index_and_headers_agree(checkpoint: Path) -> None:
    facts = read_model_facts(checkpoint)
    assert facts.problems == ()
    assert facts.index_present and facts.index_consistent
    assert [shard.status for shard in facts.shards] == ["whole"] * 3
    assert facts.index_total_bytes == facts.tensor_bytes
    assert facts.bytes_by_dtype == {"BF16": facts.tensor_bytes}
    assert facts.tokenizer and facts.chat_template
    assert facts.partial_files == ()


def test_the_facts_are_those_of_the_shape(tmp_path: Path) -> None:
    shape = TinyQwen2(hidden_size=128, intermediate_size=256, layers=2, heads=2, kv_heads=1, shards=4)
    total = write_checkpoint(tmp_path / "deep" / "down", shape)
    facts = read_model_facts(tmp_path / "deep" / "down")
    assert (facts.layers, facts.hidden_size, facts.heads, facts.kv_heads) == (2, 128, 2, 1)
    assert (facts.head_dim, facts.intermediate_size, facts.max_positions) == (64, 256, 4096)
    assert (facts.architectures, facts.dtype) == (("Qwen2ForCausalLM",), "bfloat16")
    assert facts.vocab_size == len(vocabulary().tokens)
    assert facts.problems == ()
    assert (facts.tensor_bytes, len(facts.shards)) == (total, 4)
    attention = 128 * 128 * 2 + 64 * 128 * 2 + 128 + 2 * 64
    layer = attention + 3 * 256 * 128 + 2 * 128
    vocab = len(vocabulary().tokens)
    assert total == 2 * (2 * vocab * 128 + 2 * layer + 128)


def test_the_same_seed_makes_the_same_bytes_and_another_makes_others(checkpoint: Path, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "again")
    write_checkpoint(tmp_path / "other", TinyQwen2(seed=1))
    first, again, other = digests(checkpoint), digests(tmp_path / "again"), digests(tmp_path / "other")
    assert again == first
    changed = {name for name in first if first[name] != other[name]}
    assert changed == {name for name in first if name.endswith(".safetensors")}


def read_tensors(directory: Path) -> dict[str, tuple[list[int], bytes]]:
    found: dict[str, tuple[list[int], bytes]] = {}
    for path in directory.glob("*.safetensors"):
        data = path.read_bytes()
        length = struct.unpack("<Q", data[:8])[0]
        assert length % 8 == 0
        header: dict[str, Any] = json.loads(data[8 : 8 + length])
        header.pop("__metadata__")
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            found[name] = (entry["shape"], data[8 + length + begin : 8 + length + end])
    return found


def floats(data: bytes) -> list[float]:
    return [struct.unpack("<f", b"\0\0" + data[i : i + 2])[0] for i in range(0, len(data), 2)]


def test_head_and_embedding_spell_the_answer(checkpoint: Path) -> None:
    """Greedy decoding over the signal alone: each word's direction is mapped to the next word, the last to the end."""
    tensors = read_tensors(checkpoint)
    words = vocabulary()
    (rows, hidden), embedding = tensors["model.embed_tokens.weight"]
    _, head = tensors["lm_head.weight"]
    embed, out = floats(embedding), floats(head)
    assert len(embed) == len(out) == rows * hidden == len(words.tokens) * hidden

    def column(token: int) -> int:
        row = embed[token * hidden : (token + 1) * hidden]
        return max(range(hidden), key=row.__getitem__)

    def next_token(token: int) -> int:
        at = column(token)
        return max(range(rows), key=lambda row: out[row * hidden + at])

    token, text = words.tokens.index("A"), []
    while (token := next_token(token)) != words.end_id:
        text.append(words.tokens[token])
        assert len(text) <= 50
    assert "".join(text).replace("Ġ", " ") == ANSWER


def test_noise_stays_below_the_signal() -> None:
    values = floats(bytes(Bf16.noise(20_000, random.Random(1))))
    assert all(NOISE / 2 < abs(value) < NOISE * 2 for value in values)
    assert abs(sum(value > 0 for value in values) - 10_000) < 500
    assert len(set(map(abs, values))) == 128
    assert math.isclose(floats(Bf16.value(1.0))[0], 1.0)


def test_the_words_of_the_answer_are_unique_and_make_it() -> None:
    words = answer_words()
    assert len(set(words)) == len(words)
    assert "".join(words).replace("Ġ", " ") == ANSWER
    assert ANSWER.isascii()
    tokens = vocabulary().tokens
    assert len(set(tokens)) == len(tokens)
    assert [tokens[i] for i in vocabulary().answer_ids] == words


def test_an_answer_that_repeats_a_word_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rigappliance.demo.checkpoint.ANSWER", "one and one and two")
    with pytest.raises(ValueError, match="repeats a word"):
        vocabulary()


def test_every_byte_has_a_letter_of_its_own() -> None:
    letters = byte_alphabet()
    assert len(set(letters)) == 256
    assert letters[ord("A")] == "A"
    assert letters[ord(" ")] == "Ġ"
    assert letters[ord("\n")] == "Ċ"


def test_a_hidden_size_without_room_for_the_answer_is_refused(tmp_path: Path) -> None:
    needed = len(answer_words()) + 1
    with pytest.raises(ValueError, match=f"hidden_size {needed - 1} is smaller than the answer's {needed}"):
        write_checkpoint(tmp_path / "small", TinyQwen2(hidden_size=needed - 1, heads=1, kv_heads=1))
    assert list((tmp_path / "small").glob("*")) == []
    write_checkpoint(tmp_path / "enough", TinyQwen2(hidden_size=needed, heads=1, kv_heads=1, layers=1))
    assert read_model_facts(tmp_path / "enough").problems == ()


def test_the_index_comes_last(tmp_path: Path) -> None:
    """A directory that has an index is whole; one that a full disk cut short has none."""
    (tmp_path / "tokenizer_config.json").symlink_to("/dev/full")
    with pytest.raises(OSError):
        write_checkpoint(tmp_path)
    assert not (tmp_path / "model.safetensors.index.json").exists()

"""Model facts of a whole checkpoint, of a damaged one for each kind of damage, and proof that no weight is read."""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rigappliance.demo.checkpoint import safetensors_bytes, write_checkpoint
from rigappliance.facts.model import INDEX_FILE, ModelFacts, Quantisation, read_model_facts
from rigappliance.facts.safetensors import ShardFacts

FIRST, SECOND, THIRD = (f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3))
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 3963750880\n"


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("whole")
    write_checkpoint(directory)
    return directory


@pytest.fixture
def model(whole: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(whole, tmp_path / "model"))


def kinds(facts: ModelFacts) -> set[tuple[str, str]]:
    return {(problem.kind, problem.file) for problem in facts.problems}


def shard(facts: ModelFacts, file: str) -> ShardFacts:
    return next(shard for shard in facts.shards if shard.file == file)


def edit_json(path: Path, **changes: Any) -> None:
    tree = json.loads(path.read_text())
    tree.update(changes)
    path.write_text(json.dumps({key: value for key, value in tree.items() if value is not None}))


def split_header(path: Path) -> tuple[dict[str, Any], bytes]:
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def write_shard(path: Path, header: object, data: bytes) -> None:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def test_a_whole_checkpoint(whole: Path) -> None:
    facts = read_model_facts(whole)
    assert facts.problems == ()
    assert facts.architectures == ("Qwen2ForCausalLM",)
    assert (facts.model_type, facts.dtype, facts.quantisation) == ("qwen2", "bfloat16", None)
    assert (facts.layers, facts.hidden_size, facts.intermediate_size) == (4, 256, 512)
    assert (facts.heads, facts.kv_heads, facts.head_dim) == (4, 2, 64)
    assert (facts.vocab_size, facts.max_positions) == (283, 4096)
    assert [shard.status for shard in facts.shards] == ["whole"] * 3
    assert [shard.file for shard in facts.shards] == [FIRST, SECOND, THIRD]
    assert facts.tokenizer
    assert facts.chat_template
    assert (facts.index_present, facts.index_consistent) == (True, True)


def test_bytes_are_exact(whole: Path) -> None:
    facts = read_model_facts(whole)
    total = json.loads((whole / INDEX_FILE).read_text())["metadata"]["total_size"]
    assert facts.tensor_bytes == facts.index_total_bytes == total
    assert facts.bytes_by_dtype == {"BF16": total}
    assert facts.file_bytes == sum(file.stat().st_size for file in whole.glob("*.safetensors"))
    assert facts.file_bytes == total + sum(8 + shard.header_bytes for shard in facts.shards)
    assert sum(shard.tensors for shard in facts.shards) == len(
        json.loads((whole / INDEX_FILE).read_text())["weight_map"]
    )


def test_bytes_are_told_apart_by_dtype(model: Path) -> None:
    header = {
        "q": {"dtype": "I32", "shape": [4, 2], "data_offsets": [0, 32]},
        "s": {"dtype": "F16", "shape": [3], "data_offsets": [32, 38]},
        "four": {"dtype": "F4", "shape": [4], "data_offsets": [38, 40]},
        "newer": {"dtype": "F6_E2M3", "shape": [8], "data_offsets": [40, 46]},
    }
    for file in model.glob("model*"):
        file.unlink()
    write_shard(model / "model.safetensors", header, bytes(46))
    facts = read_model_facts(model)
    assert facts.problems == ()
    assert facts.bytes_by_dtype == {"F16": 6, "F4": 2, "F6_E2M3": 6, "I32": 32}


# --- damage ----------------------------------------------------------------


def truncate(model: Path) -> None:
    os.truncate(model / SECOND, (model / SECOND).stat().st_size - 100)


def truncate_in_header(model: Path) -> None:
    os.truncate(model / SECOND, 20)


def truncate_in_length(model: Path) -> None:
    os.truncate(model / SECOND, 5)


def empty_shard(model: Path) -> None:
    os.truncate(model / SECOND, 0)


def grow(model: Path) -> None:
    os.truncate(model / SECOND, (model / SECOND).stat().st_size + 1)


def remove_shard(model: Path) -> None:
    (model / SECOND).unlink()


def dangling_link(model: Path) -> None:
    (model / SECOND).unlink()
    (model / SECOND).symlink_to("../blobs/4d7a")


def absurd_length(model: Path) -> None:
    content = (model / SECOND).read_bytes()
    (model / SECOND).write_bytes(struct.pack("<Q", 2**62) + content[8:])


def length_over_the_cap(model: Path) -> None:
    (model / SECOND).write_bytes(struct.pack("<Q", 100_000_001))
    os.truncate(model / SECOND, 200_000_000)


def reserved_space(model: Path) -> None:
    (model / SECOND).write_bytes(bytes(4096))


def header_not_json(model: Path) -> None:
    content = bytearray((model / SECOND).read_bytes())
    content[8] = ord("[")
    (model / SECOND).write_bytes(content)


def header_not_object(model: Path) -> None:
    write_shard(model / SECOND, [1, 2], b"")


def entry_without_offsets(model: Path) -> None:
    write_shard(model / SECOND, {"a": {"dtype": "F16", "shape": [1]}}, b"\0\0")


def hole_between_tensors(model: Path) -> None:
    header, data = split_header(model / SECOND)
    last = max((name for name in header if name != "__metadata__"), key=lambda name: header[name]["data_offsets"])
    header[last]["data_offsets"] = [offset + 8 for offset in header[last]["data_offsets"]]
    write_shard(model / SECOND, header, data + bytes(8))


def shape_against_offsets(model: Path) -> None:
    header, data = split_header(model / SECOND)
    name = next(name for name in header if name != "__metadata__")
    header[name]["shape"][0] += 1
    write_shard(model / SECOND, header, data)


def negative_offsets(model: Path) -> None:
    write_shard(model / SECOND, {"a": {"dtype": "F16", "shape": [1], "data_offsets": [-2, 0]}}, b"")


def shard_is_directory(model: Path) -> None:
    (model / SECOND).unlink()
    (model / SECOND).mkdir()


def shard_is_fifo(model: Path) -> None:
    (model / SECOND).unlink()
    os.mkfifo(model / SECOND)


@pytest.mark.parametrize(
    ("damage", "status", "words"),
    [
        (truncate, "truncated", "100 are missing"),
        (truncate_in_header, "truncated", "inside the header"),
        (truncate_in_length, "truncated", "5 bytes"),
        (empty_shard, "truncated", "0 bytes"),
        (grow, "corrupt", "describes"),
        (remove_shard, "missing", "not there"),
        (dangling_link, "missing", "a link"),
        (absurd_length, "corrupt", f"{2**62} bytes"),
        (length_over_the_cap, "corrupt", "100000000"),
        (reserved_space, "corrupt", "never filled"),
        (header_not_json, "corrupt", "not JSON"),
        (header_not_object, "corrupt", "a list"),
        (entry_without_offsets, "corrupt", "data_offsets"),
        (hole_between_tensors, "corrupt", "starts at byte"),
        (shape_against_offsets, "corrupt", "cannot have"),
        (negative_offsets, "corrupt", "impossible"),
        (shard_is_directory, "unreadable", "not a regular file"),
        (shard_is_fifo, "unreadable", "not a regular file"),
    ],
)
def test_a_damaged_shard_is_named(model: Path, damage: Callable[[Path], None], status: str, words: str) -> None:
    damage(model)
    facts = read_model_facts(model)
    assert (shard(facts, SECOND).status, shard(facts, FIRST).status) == (status, "whole")
    assert words in shard(facts, SECOND).detail
    assert (f"shard-{status}", SECOND) in kinds(facts)
    assert not {file for kind, file in kinds(facts) if kind.startswith("shard-")} - {SECOND}


def test_a_truncated_shard_tells_expected_and_found(model: Path) -> None:
    size = (model / SECOND).stat().st_size
    os.truncate(model / SECOND, size - 100)
    found = shard(read_model_facts(model), SECOND)
    assert (found.size_bytes, found.expected_bytes) == (size - 100, size)
    assert f"{size - 100} bytes of {size}" in found.detail
    assert read_model_facts(model).tensor_bytes == read_model_facts(model).index_total_bytes, "its header is whole"


def test_one_missing_byte_is_noticed(model: Path) -> None:
    os.truncate(model / THIRD, (model / THIRD).stat().st_size - 1)
    assert shard(read_model_facts(model), THIRD).status == "truncated"


@pytest.mark.parametrize("file", [SECOND, "config.json", "tokenizer.json", INDEX_FILE])
def test_a_git_lfs_pointer_is_recognised_with_the_size_it_stands_for(model: Path, file: str) -> None:
    (model / file).write_text(POINTER)
    facts = read_model_facts(model)
    problem = next(problem for problem in facts.problems if problem.file == file)
    assert problem.kind == "lfs-pointer"
    assert "3963750880 bytes" in problem.detail
    if file == SECOND:
        assert shard(facts, SECOND).status == "corrupt"
        assert shard(facts, SECOND).expected_bytes == 3963750880


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")])
def test_a_shard_that_cannot_be_read_is_unreadable(
    model: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    real = Path.open

    def refuse(self: Path, *arguments: Any, **keywords: Any) -> Any:
        if self.name == SECOND:
            raise error
        return real(self, *arguments, **keywords)

    monkeypatch.setattr(Path, "open", refuse)
    facts = read_model_facts(model)
    assert (shard(facts, SECOND).status, shard(facts, SECOND).detail) == ("unreadable", error.strerror)
    assert kinds(facts) == {("shard-unreadable", SECOND)}


# --- index -----------------------------------------------------------------


def test_an_index_that_names_an_absent_tensor(model: Path) -> None:
    index = json.loads((model / INDEX_FILE).read_text())
    edit_json(model / INDEX_FILE, weight_map={**index["weight_map"], "model.ghost": SECOND})
    facts = read_model_facts(model)
    assert kinds(facts) == {("tensor-missing", SECOND)}
    assert "model.ghost" in facts.problems[0].detail
    assert facts.index_consistent is False


def test_an_index_that_names_an_absent_shard(model: Path) -> None:
    index = json.loads((model / INDEX_FILE).read_text())
    edit_json(model / INDEX_FILE, weight_map={**index["weight_map"], "model.ghost": "model-9.safetensors"})
    facts = read_model_facts(model)
    assert kinds(facts) == {("shard-missing", "model-9.safetensors")}
    assert facts.index_consistent is False


def test_a_tensor_that_the_index_forgot(model: Path) -> None:
    weight_map = json.loads((model / INDEX_FILE).read_text())["weight_map"]
    del weight_map["lm_head.weight"]
    edit_json(model / INDEX_FILE, weight_map=weight_map)
    facts = read_model_facts(model)
    assert kinds(facts) == {("tensor-not-in-index", THIRD)}
    assert "lm_head.weight" in facts.problems[0].detail


def test_a_total_that_does_not_add_up(model: Path) -> None:
    edit_json(model / INDEX_FILE, metadata={"total_size": 17})
    facts = read_model_facts(model)
    assert kinds(facts) == {("index-total-size", INDEX_FILE)}
    assert (facts.index_total_bytes, facts.index_consistent) == (17, False)


def test_a_missing_shard_does_not_also_spoil_the_total(model: Path) -> None:
    remove_shard(model)
    assert kinds(read_model_facts(model)) == {("shard-missing", SECOND)}


@pytest.mark.parametrize("value", ["../secret.safetensors", "/etc/shadow", "", "..", "a\0b", "\ud800", 7, None])
def test_an_index_may_not_name_files_elsewhere(model: Path, value: object) -> None:
    edit_json(model / INDEX_FILE, weight_map={"a": value})
    facts = read_model_facts(model)
    assert ("index-invalid", INDEX_FILE) in kinds(facts)
    assert {shard.file for shard in facts.shards} == {FIRST, SECOND, THIRD}


@pytest.mark.parametrize("text", ["{", "[]", ""])
def test_an_index_that_is_not_json(model: Path, text: str) -> None:
    (model / INDEX_FILE).write_text(text)
    facts = read_model_facts(model)
    assert ("index-not-json", INDEX_FILE) in kinds(facts)
    assert (facts.index_present, facts.index_consistent) == (True, False)


def test_a_file_that_the_index_does_not_name_is_not_served(model: Path) -> None:
    (model / "consolidated.safetensors").write_bytes(b"junk")
    facts = read_model_facts(model)
    assert facts.problems == ()
    assert len(facts.shards) == 3


def test_a_single_file_needs_no_index(model: Path) -> None:
    for file in model.glob("model*"):
        file.unlink()
    (model / "model.safetensors").write_bytes(safetensors_bytes([("a", (2, 3), bytes(12))]))
    facts = read_model_facts(model)
    assert facts.problems == ()
    assert (facts.index_present, facts.index_consistent, facts.tensor_bytes) == (False, None, 12)


def test_without_an_index_the_file_names_tell_which_shard_is_missing(model: Path) -> None:
    (model / INDEX_FILE).unlink()
    (model / THIRD).unlink()
    facts = read_model_facts(model)
    assert kinds(facts) == {("shard-missing", THIRD), ("index-missing", INDEX_FILE)}


def test_a_nonsense_shard_count_is_not_believed(model: Path) -> None:
    (model / INDEX_FILE).unlink()
    (model / "model-1-of-99999999.safetensors").write_bytes(b"")
    assert len(read_model_facts(model).shards) == 4


# --- config, directory, downloads ------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (None, "config-missing"),
        ("", "config-not-json"),
        ("{", "config-not-json"),
        ("[]", "config-not-json"),
        ('{"hidden_size": 8}', "config-incomplete"),
        ("[" * 100_000, "config-not-json"),
        ('"\\ud800', "config-not-json"),
    ],
)
def test_a_config_that_is_none(model: Path, text: str | None, kind: str) -> None:
    (model / "config.json").unlink()
    if text is not None:
        (model / "config.json").write_text(text)
    facts = read_model_facts(model)
    assert kinds(facts) == {(kind, "config.json")}
    assert facts.layers is None


def test_a_directory_in_the_place_of_config_is_unreadable(model: Path) -> None:
    (model / "config.json").unlink()
    (model / "config.json").mkdir()
    assert kinds(read_model_facts(model)) == {("config-unreadable", "config.json")}


def test_values_of_the_wrong_type_are_unknown(model: Path) -> None:
    edit_json(model / "config.json", num_hidden_layers="80", hidden_size=True, num_attention_heads=0, vocab_size=1.5)
    facts = read_model_facts(model)
    assert (facts.layers, facts.hidden_size, facts.heads, facts.vocab_size, facts.head_dim) == (None,) * 5


def test_a_missing_directory(tmp_path: Path) -> None:
    assert [p.kind for p in read_model_facts(tmp_path / "no").problems] == ["directory-missing"]


def test_a_file_instead_of_a_directory(whole: Path) -> None:
    assert [p.kind for p in read_model_facts(whole / "config.json").problems] == ["not-a-directory"]


def test_a_directory_that_may_not_be_read(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Not with chmod: root reads what it likes.
    def refuse(self: Path) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    problems = read_model_facts(model).problems
    assert [(p.kind, p.detail) for p in problems] == [("directory-unreadable", "Permission denied")]


def test_an_empty_directory(tmp_path: Path) -> None:
    assert {p.kind for p in read_model_facts(tmp_path).problems} == {
        "config-missing",
        "no-weights",
        "tokenizer-missing",
    }


def test_a_checkpoint_of_another_format_is_named(model: Path) -> None:
    for file in model.glob("model*"):
        file.unlink()
    (model / "pytorch_model.bin").write_bytes(b"PK")
    problem = next(p for p in read_model_facts(model).problems if p.kind == "no-weights")
    assert ".bin" in problem.detail


@pytest.mark.parametrize("suffix", [".incomplete", ".part", ".aria2"])
def test_a_download_under_way_is_named(model: Path, suffix: str) -> None:
    (model / THIRD).rename(model / (THIRD + suffix))
    facts = read_model_facts(model)
    assert kinds(facts) == {("shard-missing", THIRD), ("partial-download", THIRD + suffix)}


def test_a_download_in_the_cache_of_the_hub_tools_is_named(model: Path) -> None:
    cached = ".cache/huggingface/download/abc.4d7a.incomplete"
    (model / cached).parent.mkdir(parents=True)
    (model / cached).write_bytes(b"")
    facts = read_model_facts(model)
    assert (facts.partial_files, facts.problems) == ((cached,), ()), "harmless beside a whole checkpoint"
    (model / THIRD).unlink()
    assert ("partial-download", cached) in kinds(read_model_facts(model))


def test_the_single_file_of_an_unfinished_download(model: Path) -> None:
    for file in model.glob("model*"):
        file.unlink()
    (model / "model.safetensors.part").write_bytes(b"12345678")
    assert kinds(read_model_facts(model)) == {
        ("no-weights", "*.safetensors"),
        ("partial-download", "model.safetensors.part"),
    }


def test_an_unfinished_file_that_nothing_else_names(model: Path) -> None:
    for file in model.glob("model*"):
        file.unlink()
    (model / "model.safetensors").write_bytes(safetensors_bytes([("a", (2, 3), bytes(12))]))
    (model / "model.safetensors.part").write_bytes(b"left over")
    assert kinds(read_model_facts(model)) == set()
    (model / "more.safetensors.part").write_bytes(b"under way")
    assert kinds(read_model_facts(model)) == {("partial-download", "more.safetensors.part")}


@pytest.mark.parametrize(
    ("files", "present"),
    [((), False), (("vocab.json",), False), (("vocab.json", "merges.txt"), True), (("tokenizer.model",), True)],
)
def test_which_files_make_a_tokenizer(model: Path, files: tuple[str, ...], present: bool) -> None:
    (model / "tokenizer.json").unlink()
    for file in files:
        (model / file).write_text("x")
    facts = read_model_facts(model)
    assert facts.tokenizer is present
    assert (("tokenizer-missing", "tokenizer.json") in kinds(facts)) is not present


def test_where_a_chat_template_may_be(model: Path) -> None:
    edit_json(model / "tokenizer_config.json", chat_template=None)
    assert not read_model_facts(model).chat_template
    (model / "chat_template.jinja").write_text("{{ messages }}")
    assert read_model_facts(model).chat_template


# --- shapes ----------------------------------------------------------------


def test_the_gptq_checkpoint_of_the_rig(model: Path) -> None:
    edit_json(
        model / "config.json",
        quantization_config={
            "bits": 8, "damp_percent": 0.01, "desc_act": False, "group_size": 128,
            "model_name_or_path": None, "quant_method": "gptq", "static_groups": False, "sym": True,
        },
    )  # fmt: skip
    assert read_model_facts(model).quantisation == Quantisation("gptq", 8, 128, desc_act=False, symmetric=True)


def test_compressed_tensors_keep_bits_a_level_deeper(model: Path) -> None:
    weights = {"num_bits": 4, "group_size": 32, "type": "int"}
    edit_json(
        model / "config.json",
        quantization_config={"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": weights}}},
    )
    assert read_model_facts(model).quantisation == Quantisation("compressed-tensors", 4, 32)


def test_kv_heads_default_to_heads_and_head_dim_may_be_declared(model: Path) -> None:
    edit_json(model / "config.json", num_key_value_heads=None, head_dim=128)
    facts = read_model_facts(model)
    assert (facts.kv_heads, facts.head_dim) == (4, 128)


def test_a_multimodal_model_keeps_its_shape_in_text_config(model: Path) -> None:
    tree = json.loads((model / "config.json").read_text())
    outer = {key: tree[key] for key in ("architectures", "model_type")}
    (model / "config.json").write_text(json.dumps({**outer, "text_config": tree}))
    facts = read_model_facts(model)
    assert (facts.layers, facts.heads, facts.architectures) == (4, 4, ("Qwen2ForCausalLM",))


@pytest.mark.parametrize(
    ("rope", "positions"),
    [
        ({"type": "linear", "factor": 2.0}, 8192),
        ({"rope_type": "dynamic", "factor": 4}, 16384),
        ({"type": "yarn", "factor": 4.0}, 4096),
        ({"rope_type": "default"}, 4096),
        ({"type": "linear", "factor": float("inf")}, 4096),
    ],
)
def test_positions_are_stretched_as_the_engine_does(model: Path, rope: dict[str, Any], positions: int) -> None:
    edit_json(model / "config.json", rope_scaling=rope)
    assert read_model_facts(model).max_positions == positions


def test_the_newer_name_of_dtype_wins(model: Path) -> None:
    edit_json(model / "config.json", dtype="float16")
    assert read_model_facts(model).dtype == "float16"


# --- fingerprint -----------------------------------------------------------


def test_the_fingerprint_is_stable_and_short(whole: Path, model: Path) -> None:
    first = read_model_facts(whole).fingerprint
    assert first == read_model_facts(model).fingerprint
    assert len(first) == 16


@pytest.mark.parametrize("damage", [truncate, remove_shard, lambda m: edit_json(m / "config.json", rope_theta=1.0)])
def test_the_fingerprint_changes_with_config_and_shards(
    whole: Path, model: Path, damage: Callable[[Path], None]
) -> None:
    damage(model)
    assert read_model_facts(model).fingerprint != read_model_facts(whole).fingerprint


def test_the_fingerprint_ignores_the_readme(whole: Path, model: Path) -> None:
    (model / "README.md").write_text("hello")
    assert read_model_facts(model).fingerprint == read_model_facts(whole).fingerprint


# --- only headers are read -------------------------------------------------


def test_a_shard_of_50_gb_takes_no_longer_than_its_header(model: Path) -> None:
    size = 50 * 1000**3
    for file in model.glob("model*"):
        file.unlink()
    write_shard(model / "model.safetensors", {"a": {"dtype": "I8", "shape": [size], "data_offsets": [0, size]}}, b"")
    os.truncate(model / "model.safetensors", (model / "model.safetensors").stat().st_size + size)
    begin = time.perf_counter()
    facts = read_model_facts(model)
    assert time.perf_counter() - begin < 1
    assert facts.problems == ()
    assert facts.tensor_bytes == size


def test_not_one_byte_of_tensor_data_is_read(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: dict[str, int] = {}

    class Counting(io.FileIO):
        def count(self, got: int) -> int:
            name = Path(str(self.name)).name
            read[name] = read.get(name, 0) + got
            return got

        def read(self, size: int | None = -1) -> bytes:
            content = super().read(-1 if size is None else size) or b""
            self.count(len(content))
            return content

        def readinto(self, buffer: Any) -> int:
            return self.count(super().readinto(buffer) or 0)

        def readall(self) -> bytes:
            content = super().readall() or b""
            self.count(len(content))
            return content

    real = Path.open

    def opened(self: Path, mode: str = "r", buffering: int = -1, *arguments: Any, **keywords: Any) -> Any:
        if self.suffix != ".safetensors":
            return real(self, mode, buffering, *arguments, **keywords)
        raw = Counting(str(self), "r")
        return raw if buffering == 0 else io.BufferedReader(raw)

    monkeypatch.setattr(Path, "open", opened)
    facts = read_model_facts(model)
    assert read == {shard.file: 8 + shard.header_bytes for shard in facts.shards}

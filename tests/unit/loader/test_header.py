"""Shards as their headers describe them, and what is said of those that are damaged."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from rigappliance.loader.errors import LoadError
from rigappliance.loader.header import read_shard, read_shards
from tests.unit.loader.shards import entry, write


def test_tensors_come_in_the_order_of_the_file_with_their_places(tmp_path: Path) -> None:
    entries = {"__metadata__": {"format": "pt"}, "b": entry(8, 24, "BF16", [2, 4]), "a": entry(24, 28, "I32", []),
               "c": entry(0, 8)}  # fmt: skip
    shard = read_shard(write(tmp_path / "x.safetensors", entries, bytes(28)), first=1000)
    start = shard.size_bytes - 28
    assert [(place.name, place.begin - start, place.end - start) for place in shard.places] == [
        ("c", 0, 8), ("b", 8, 24), ("a", 24, 28),
    ]  # fmt: skip
    assert (shard.first, shard.places[1].shape, shard.unsupported()) == (1000, (2, 4), None)


def test_the_stream_is_the_files_one_after_the_other(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{i}.safetensors", {"a": entry(0, 8 * i)}, bytes(8 * i)) for i in (1, 2, 3)]
    one, two, three = read_shards(paths)
    assert (one.first, two.first, three.first) == (0, one.size_bytes, one.size_bytes + two.size_bytes)


@pytest.mark.parametrize(
    ("entries", "data_bytes", "words"),
    [
        (b"{", 0, "not JSON"),
        (b"[]", 0, "holds a list"),
        ({"a": {"dtype": "U8", "shape": [4]}}, 4, "tensor a has no usable"),
        ({"a": entry(0, 4, "U8", [-4])}, 4, "tensor a has no usable"),
        ({"a": entry(0, 4), "b": entry(5, 6)}, 6, "tensor b begins at byte"),
        ({"a": entry(0, 4), "b": entry(2, 6)}, 6, "tensor b begins at byte"),
        ({"a": entry(0, 4, "F32", [2])}, 4, "tensor a of F32 [2] cannot have 4 bytes"),
        ({"a": entry(0, 4)}, 5, "bytes, expected"),
    ],
)
def test_a_damaged_header_is_named_with_its_shard(tmp_path: Path, entries: Any, data_bytes: int, words: str) -> None:
    path = write(tmp_path / "x.safetensors", entries, bytes(data_bytes))
    with pytest.raises(LoadError) as raised:
        read_shard(path)
    assert str(raised.value).startswith("rigappliance loader: x.safetensors: the header is damaged: ")
    assert words in str(raised.value)


@pytest.mark.parametrize("content", [bytes(8), b"\xff" * 16])
def test_a_file_that_begins_with_no_header_is_damaged(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(LoadError, match="header is damaged"):
        read_shard(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (b"", "the header: the file ends at byte 0, expected 8 bytes from byte 0"),
        (b"\x04\x00", "the header: the file ends at byte 2, expected 8 bytes from byte 0"),
        (
            (100).to_bytes(8, "little") + b"{}",
            "the header: the file ends at byte 10, expected 100 bytes from byte 8",
        ),
    ],
)
def test_a_file_cut_within_its_header_ends_early(tmp_path: Path, content: bytes, where: str) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(LoadError, match=where):
        read_shard(tmp_path / "x.safetensors")


def test_a_cut_file_is_named_with_the_tensor_in_which_it_ends(tmp_path: Path) -> None:
    path = write(tmp_path / "x.safetensors", {"a": entry(0, 4), "b": entry(4, 12), "c": entry(12, 16)}, bytes(7))
    size = path.stat().st_size
    with pytest.raises(
        LoadError, match=f"tensor b: the file ends at byte {size}, expected 8 bytes from byte {size - 3}"
    ):
        read_shard(path)


def test_a_header_that_the_disk_does_not_give_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "x.safetensors", {"a": entry(0, 4)}, bytes(4))

    def failing(descriptor: int, count: int, offset: int) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pread", failing)
    with pytest.raises(
        LoadError, match=r"the header: reading 8 bytes from byte 0 failed: Input/output error \(errno 5"
    ):
        read_shard(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"x\.safetensors: cannot be opened: No such file"):
        read_shard(tmp_path / "x.safetensors")


def test_unaligned_and_unknown_types_are_left_to_the_stock_loader(tmp_path: Path) -> None:
    # The header's own length decides where data begins: 1 byte before BF16 breaks what padding gave.
    head = {"a": entry(0, 1), "b": entry(1, 5, "BF16", [2])}
    text = str(head).replace("'", '"').encode()
    unaligned = read_shard(write(tmp_path / "u.safetensors", text + b" " * (len(text) % 2), bytes(5)))
    assert "not aligned, b at byte" in str(unaligned.unsupported())
    unknown = read_shard(write(tmp_path / "k.safetensors", {"a": entry(0, 4, "F4", [8])}, bytes(4)))
    assert "type F4, a" in str(unknown.unsupported())

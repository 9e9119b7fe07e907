"""What can be wrong with a checkpoint, done to a whole one."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

from rigappliance.demo.checkpoint import write_checkpoint

SHARD = "model-00002-of-00003.safetensors"
Damage = Callable[[Path], None]


def configured(**changes: object) -> Damage:
    """Keys of config.json, replaced or added."""

    def damage(checkpoint: Path) -> None:
        path = checkpoint / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return damage


def truncated(checkpoint: Path) -> None:
    with (checkpoint / SHARD).open("r+b") as file:
        file.truncate((checkpoint / SHARD).stat().st_size - 1000)


def flipped_header(checkpoint: Path) -> None:
    """The highest bit of one byte of the header's JSON."""
    content = bytearray((checkpoint / SHARD).read_bytes())
    content[120] ^= 0x80
    (checkpoint / SHARD).write_bytes(content)


def absurd_header_length(checkpoint: Path) -> None:
    with (checkpoint / SHARD).open("r+b") as file:
        file.write(struct.pack("<Q", 1 << 40))


def missing_shard(checkpoint: Path) -> None:
    (checkpoint / SHARD).unlink()


def missing_tokenizer(checkpoint: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (checkpoint / name).unlink()


def cut_tokenizer(checkpoint: Path) -> None:
    path = checkpoint / "tokenizer.json"
    path.write_bytes(path.read_bytes()[:3000])


def damaged(checkpoint: Path, damage: Damage) -> Path:
    """Write a whole checkpoint there, then do that to it."""
    write_checkpoint(checkpoint)
    damage(checkpoint)
    return checkpoint

"""Shapes of tensors that every decoder has under the same name, to be compared with config.json."""

from __future__ import annotations

from pathlib import Path

from rigappliance.facts.model import expected_shards, read_index
from rigappliance.facts.safetensors import read_shard

# Name → the keys of config.json that are its dimensions.
DIMENSIONS = {
    "model.embed_tokens.weight": ("vocab_size", "hidden_size"),
    "model.norm.weight": ("hidden_size",),
}


def read_known_shapes(directory: Path) -> dict[str, tuple[int, ...]]:
    """Shapes by name, those that can be found; reads the headers of one or two shards. Raises nothing."""
    try:
        names = sorted(entry.name for entry in directory.iterdir())
    except OSError:
        return {}
    weight_map, _ = read_index(directory, names, [])
    places = {weight_map[name] for name in DIMENSIONS if name in weight_map} if weight_map is not None else set()
    # Without an index a checkpoint of one shard is usual; of many, the rest of the checks complains already.
    shards = sorted(places) if weight_map is not None else expected_shards(names, None)[:1]
    found: dict[str, tuple[int, ...]] = {}
    for shard in shards:
        _, header = read_shard(directory / shard)
        if header:
            found |= {name: header.shapes[name] for name in DIMENSIONS if name in header.shapes}
    return found

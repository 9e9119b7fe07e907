"""Random views of tensors in shards, copied and computed with in many ways, beside the same of tensors in memory.

Run by the engine's interpreter; it needs torch alone. The argument is an empty directory; the answer is JSON.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import torch  # type: ignore[import-not-found]
from safetensors.torch import save_file  # type: ignore[import-not-found]

from rigappliance.loader import copying
from rigappliance.loader.header import read_shards
from rigappliance.loader.intercept import Intercept
from rigappliance.loader.load import weights
from rigappliance.loader.options import Options
from rigappliance.loader.ranks import alone

DTYPES = (
    torch.float32, torch.bfloat16, torch.float16, torch.int32, torch.int8, torch.uint8, torch.float64,
    torch.float8_e4m3fn, torch.bool, torch.int64,
)  # fmt: skip
SIZES = (1, 2, 3, 8, 17, 64, 300, 700)


def write_shards(directory: Path, rng: random.Random) -> dict[str, Any]:
    tensors: dict[str, Any] = {}
    for shard in range(3):
        some = {f"empty{shard}": torch.empty(0, 4)}
        for number in range(30):
            sizes = [rng.choice(SIZES) for _ in range(rng.choice((0, 1, 2, 2, 2, 3)))]
            while torch.Size(sizes).numel() > 300_000:
                sizes[sizes.index(max(sizes))] = 2
            values = torch.randint(0, 100, sizes or (1,)).reshape(sizes)
            some[f"t{shard}.{number}"] = values.to(rng.choice(DTYPES))
        save_file(some, directory / f"model-{shard}.safetensors")
        tensors |= some
    return tensors


def view(tensor: Any, rng: random.Random) -> Any:
    for _ in range(rng.randrange(4)):
        match rng.randrange(6):
            case 0 if tensor.dim():
                dim = rng.randrange(tensor.dim())
                start = rng.randrange(tensor.shape[dim])
                tensor = tensor.narrow(dim, start, rng.randint(1, tensor.shape[dim] - start))
            case 1 if tensor.dim() == 2:
                tensor = tensor.t()
            case 2 if tensor.dim():
                tensor = tensor[::2]
            case 3 if tensor.dim() == 3:
                tensor = tensor.permute(2, 0, 1)
            case 4:
                tensor = tensor.unsqueeze(0)
            case 5 if tensor.dim() > 1:
                tensor = tensor[0]
    return tensor


def used(source: Any, rng: random.Random) -> Any:
    """Something made of ``source``."""
    sizes = list(source.shape)
    match rng.randrange(8):
        case 0:
            target = torch.zeros(sizes, dtype=source.dtype)
        case 1:
            target = torch.zeros(sizes, dtype=torch.float32)
        case 2:
            whole = torch.zeros([size + rng.randrange(3) for size in sizes], dtype=source.dtype)
            part = whole
            for dim, size in enumerate(sizes):
                part = part.narrow(dim, whole.shape[dim] - size, size)
            part.copy_(source)
            return whole
        case 3:
            target = torch.zeros((2, *sizes), dtype=source.dtype)
        case 4:
            return source.clone()
        case 5:
            return source.contiguous()
        case 6:
            return source.to(torch.float64)
        case _:
            # No copy: it reads the mapping.
            return torch.stack([source, source])
    target.copy_(source)
    return target


def bits(tensor: Any) -> Any:
    return torch.empty(tensor.numel(), dtype=tensor.dtype).copy_(tensor.reshape(-1)).view(torch.uint8)


def main() -> None:
    directory = Path(sys.argv[1])
    rng = random.Random(7)
    torch.manual_seed(7)
    expected = write_shards(directory, rng)
    shards = read_shards(sorted(directory.glob("*.safetensors")))
    # Blocks of all sizes, and both ways to take them, in tensors that are small.
    copying.WORTH_A_READ_BYTES, copying.WORTH_A_SLICE_BYTES = 1024, 256
    intercept, compared, kept = Intercept(), 0, []
    with intercept:
        names = {place.name for shard in shards for place in shard.places}
        assert names == expected.keys()
        for name, tensor in weights(shards, intercept, alone, Options()):
            same = expected[name]
            assert tensor.shape == same.shape and tensor.dtype == same.dtype, name
            for _ in range(8 if tensor.numel() else 0):
                for held in intercept.holdings.by_address.values():
                    held.pace.piece_bytes = rng.choice((4096, 65536, 4 << 20))
                seed = rng.random()
                one, two = random.Random(seed), random.Random(seed)
                ours, theirs = used(view(tensor, one), one), used(view(same, two), two)
                assert ours.shape == theirs.shape and torch.equal(bits(ours), bits(theirs)), (name, seed)
                compared += 1
            if tensor.numel() and name.endswith("7"):
                # Kept beyond its turn, and written to: as with the stock loader, the file does not change.
                kept.append((tensor, same.clone()))
                kept[-1][0].fill_(1)
                assert torch.equal(bits(kept[-1][0]), bits(kept[-1][1].fill_(1)))
    # The last one of the loop, and those kept.
    alive = len(intercept.holdings.by_address) - len(kept) - 1
    intercept.holdings.close()
    assert all(torch.equal(bits(ours), bits(theirs)) for ours, theirs in kept)
    assert read_shards([shard.path for shard in shards]) == shards
    answer = {"compared": compared, "touched": intercept.other_operations, "kept": len(kept), "alive": alive}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()

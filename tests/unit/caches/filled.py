"""A state directory with caches as an engine leaves them."""

from __future__ import annotations

from pathlib import Path

from rigappliance.caches.identity import Identity

MODEL = "vllm/torch_compile_cache/torch_aot_compile/5f/rank_0_0/model"
KERNEL = "triton/AB/kernel.cubin"
CONTENT = {
    MODEL: b"compiled" * 100,
    KERNEL: b"\x7fELF" * 9,
    "inductor/fx/graph": b"graph",
    "vllm/modelinfos/q.json": b"{}",
}
DURATIONS = {"weights": 5.0, "compile": 20.0}


def identity(share: str = "0.85", seqs: str = "32", **fields: str) -> Identity:
    base = {"engine": "0.32.0", "model": "m" * 16, "layout": "TP 8 PP 1", "cards": "8 x RTX 3060 8.6"}
    return Identity({**base, **fields}, {"gpu_memory_utilization": share, "max_num_seqs": seqs})


def fill(state_dir: Path, content: dict[str, bytes] = CONTENT) -> None:
    for name, data in content.items():
        path = state_dir / "cache" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def found(state_dir: Path) -> dict[str, bytes]:
    """What the engine would find, beside the manifest."""
    root = state_dir / "cache"
    files = {str(path.relative_to(root)): path for path in root.rglob("*") if path.is_file()}
    beside = ("taken/", "aside/")
    return {name: path.read_bytes() for name, path in files.items() if "/" in name and not name.startswith(beside)}

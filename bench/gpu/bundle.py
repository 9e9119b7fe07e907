"""What a machine with a card, but without a network, lacks of the pinned engine, as archives below a size.

    python -m bench.gpu.bundle --closure SITE --have FILE --capability 90 --part-size 50MiB --output DIR

SITE is a site-packages directory with the engine's closure for the machine's Python, FILE names the distributions that
the machine has (one a line; `pip list --format=freeze` will do). Left out of the engine: kernels for other cards, and
those of its libraries that a dense model on that card never calls. `bench.gpu.unpack` joins the parts there.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import lzma
import re
import sys
import tarfile
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

from bench.gpu.fatbin import keep_only
from rigappliance.units import format_size, parse_size

# The machine's own torch and what belongs to it, and kernel packages that vLLM does without: it looks for each and
# takes another way. A GPTQ checkpoint on FlashAttention 3 calls none of them.
NOT_CARRIED = {
    "torch", "torchaudio", "torchvision", "torchcodec", "triton", "pynvvideocodec", "flashinfer-python",
    "flashinfer-cubin", "tilelang", "nvidia-cutlass-dsl", "quack-kernels", "tokenspeed-mla", "humming-kernels",
    "fastsafetensors", "instanttensor", "nvidia-cudnn-frontend", "nvtx",
}  # fmt: skip
# Parts of the engine's wheel: FlashAttention 2 holds code for capability 8.x alone, the others belong to models with
# experts, to other front ends and to other cards.
LEFT_OUT = (
    "vllm/vllm-rs", "vllm/vllm_flash_attn/_vllm_fa2_C", "vllm/_moe_C", "vllm/third_party/deep_gemm",
    "vllm/third_party/fmha_sm100", "vllm/_flashkda_C", "vllm/_flashmla", "vllm/_deepselect_C", "vllm/_qutlass_C",
)  # fmt: skip

# Most of it is machine code for x86.
FILTERS = (
    {"id": lzma.FILTER_X86},
    {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 256 << 20},
)


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.strip().lower())


def names_in(path: Path) -> set[str]:
    return {normal(re.split(r"[=<>~! @]", line)[0]) for line in path.read_text().splitlines() if line.strip()}


def requirements(distribution: Distribution) -> Iterator[str]:
    """Names of what it needs, without extras and without conditions that need one."""
    for line in distribution.requires or ():
        if "extra ==" not in line.replace("extra==", "extra =="):
            yield normal(re.split(r"[\[<>=!~; (]", line)[0])


def wanted(closure: Path, have: set[str]) -> list[Distribution]:
    there = {normal(found.metadata["Name"]): found for found in distributions(path=[str(closure)])}
    seen: set[str] = set()
    # fastapi[standard], and what the control plane needs beside the engine.
    todo = ["vllm", "uvicorn", "httptools", "python-multipart", "email-validator", "click", "pydantic", "rich"]
    while todo:
        name = todo.pop()
        if name in seen or name in NOT_CARRIED or name not in there:
            continue
        seen.add(name)
        todo.extend(requirements(there[name]))
    return [there[name] for name in sorted(seen - have)]


def files_of(distribution: Distribution, closure: Path) -> Iterator[tuple[str, Path]]:
    for file in distribution.files or ():
        name = str(file)
        if ".." in file.parts or name.endswith(".pyc") or name.startswith(LEFT_OUT):
            continue
        path = closure / name
        if path.is_file():
            yield name, path


def content(name: str, path: Path, capability: int) -> bytes:
    data = bytearray(path.read_bytes())
    if ".so" in name and name.startswith("vllm/"):
        blanked = keep_only(data, capability)
        if blanked:
            print(f"  {name}: {format_size(blanked)} of kernels for other cards blanked")
    return bytes(data)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--closure", type=Path, required=True)
    arguments.add_argument("--have", type=Path, required=True)
    arguments.add_argument("--capability", type=int, default=90, help="compute capability times ten")
    arguments.add_argument("--part-size", type=parse_size, default=50 << 20)
    arguments.add_argument("--output", type=Path, required=True)
    chosen = arguments.parse_args()
    chosen.output.mkdir(parents=True, exist_ok=True)
    found = wanted(chosen.closure, names_in(chosen.have))
    print(f"{len(found)} distributions: " + " ".join(f"{d.metadata['Name']}=={d.version}" for d in found))
    raw = io.BytesIO()
    with lzma.open(raw, "wb", filters=FILTERS) as packed, tarfile.open(fileobj=packed, mode="w|") as archive:
        for distribution in found:
            for name, path in files_of(distribution, chosen.closure):
                data = content(name, path, chosen.capability)
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                entry.mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
                archive.addfile(entry, io.BytesIO(data))
    whole = raw.getvalue()
    parts = [whole[at : at + chosen.part_size] for at in range(0, len(whole), chosen.part_size)]
    for number, part in enumerate(parts):
        (chosen.output / f"part{number}").write_bytes(part)
    manifest = {
        "parts": [hashlib.sha256(part).hexdigest() for part in parts],
        "distributions": {normal(d.metadata["Name"]): d.version for d in found},
    }
    (chosen.output / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    print(f"{format_size(len(whole))} in {len(parts)} parts")
    return 0


if __name__ == "__main__":
    sys.exit(main())

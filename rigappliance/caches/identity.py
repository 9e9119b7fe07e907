"""For what a cache was made.

The engine finds its files by their content's own keys, so what lies there for another model, layout or option is never
taken for one's own: it only lies there.  The identity says whether it is of use on another rig, and which of it nobody
has used for long.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rigappliance.caches.packages import ENGINE_NAMES, build_of, distributions, python_of, version_of
from rigappliance.config import RigConfig
from rigappliance.facts.enginebuild import cuda_major
from rigappliance.facts.gpu import GpuFacts, read_gpu_facts
from rigappliance.facts.host import read_host_facts
from rigappliance.facts.model import INDEX_FILE, ModelFacts, read_model_facts
from rigappliance.facts.safetensors import HEADER_LIMIT_BYTES, LENGTH_BYTES

# Beginnings of the names of variables that compilers and libraries read, and parts of names whose values are secret.
COMPILING = ("VLLM_", "TORCH", "PYTORCH_", "TRITON_", "FLASHINFER_", "CUDA_", "NCCL_", "OMP_", "MKL_", "CC", "CXX")
SECRET = ("KEY", "TOKEN", "SECRET", "PASSWORD")


@dataclass(frozen=True)
class Difference:
    """A field that two identities do not share."""

    field: str
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{self.field} is {self.found or 'unknown'} and not {self.expected or 'unknown'}"


@dataclass(frozen=True)
class Identity:
    """``fields`` make the key: where one differs, nothing that was compiled is of use.

    ``settings`` are options of which each changes some of it, and a start under others compiles that anew.
    """

    fields: Mapping[str, str]
    settings: Mapping[str, str]

    @property
    def key(self) -> str:
        """Sixteen hex digits."""
        return digest(json.dumps(dict(self.fields), sort_keys=True).encode())

    @property
    def setup(self) -> str:
        """As the key, with the settings."""
        return digest(json.dumps([dict(self.fields), dict(self.settings)], sort_keys=True).encode())

    @property
    def name(self) -> str:
        """For people, such as ``vLLM 0.32.0, /models/qwen, TP 8 PP 1``."""
        return ", ".join(
            [f"vLLM {self.fields.get('engine') or '?'}", *filter(None, map(self.fields.get, ("model path", "layout")))]
        )

    def differences(self, expected: Identity) -> list[Difference]:
        """Fields in which this one is not as ``expected``, in their order."""
        return differing(self.fields, expected.fields)

    def other_settings(self, expected: Identity) -> list[Difference]:
        return differing(self.settings, expected.settings)


def differing(found: Mapping[str, str], expected: Mapping[str, str]) -> list[Difference]:
    names = dict.fromkeys([*expected, *found])
    pairs = [(name, found.get(name, ""), expected.get(name, "")) for name in names]
    return [Difference(name, is_, wanted) for name, is_, wanted in pairs if is_ != wanted]


def read_identity(config: RigConfig, model: ModelFacts | None = None, cards: GpuFacts | None = None) -> Identity:
    """The identity of a start of ``config`` on this machine; facts that were read already may be handed in.

    Reads config.json, the shards' headers and the packages' metadata.  Raises nothing: what cannot be known is empty.
    """
    engine = config.engine
    found = distributions(engine.python)
    fields = {
        "engine": version_of(found, ENGINE_NAMES),
        "engine build": build_of(found),
        "torch": version_of(found, ("torch",)),
        "cuda": str(cuda_major(engine.python) or ""),
        "triton": version_of(found, ("triton",)),
        "flashinfer": version_of(found, ("flashinfer-python",)),
        "python": python_of(engine.python),
        # Places of this host enter the engine's own keys: what was made elsewhere would lie here unused.
        "engine path": str(engine.python.absolute().parent.parent),
        "model": model_digest(model or read_model_facts(config.model.path)),
        "model path": str(config.model.path.absolute()),
        "device": engine.device,
        "layout": f"TP {engine.tensor_parallel} PP {engine.pipeline_parallel}",
        "cpu": processor(),
        **card_fields(config, cards),
    }
    settings = {
        "dtype": engine.dtype,
        "quantization": engine.quantization or "",
        "kv_cache_dtype": engine.kv_cache_dtype,
        "max_model_len": str(engine.max_model_len),
        "max_num_seqs": str(engine.max_num_seqs),
        "max_num_batched_tokens": str(engine.max_num_batched_tokens or ""),
        "optimization_level": "" if engine.optimization_level is None else str(engine.optimization_level),
        "enforce_eager": str(engine.enforce_eager),
        "gpu_memory_utilization": str(engine.gpu_memory_utilization),
        "options": json.dumps(open_values(engine.options), sort_keys=True),
        "environment": json.dumps(told(engine.environment), sort_keys=True),
    }
    return Identity(fields, settings)


def told(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that compilers and libraries read."""
    return {name: value for name, value in open_values(environment).items() if name.startswith(COMPILING)}


def open_values(declared: Mapping[str, Any]) -> dict[str, Any]:
    """Without secrets: the identity goes to other rigs."""
    return {name: value for name, value in declared.items() if not any(word in name.upper() for word in SECRET)}


def model_digest(model: ModelFacts) -> str:
    """Over config.json and every shard's header: what the model is, not what it has learnt."""
    total = hashlib.sha256()
    for name in ("config.json", INDEX_FILE):
        try:
            total.update((model.path / name).read_bytes())
        except OSError:
            total.update(b"none")
    for shard in model.shards:
        total.update(f"\n{shard.file} {shard.size_bytes} ".encode(errors="surrogatepass"))
        total.update(header(model.path / shard.file))
    return total.hexdigest()[:16]


def header(path: Path) -> bytes:
    """A shard's header as it is; empty where there is none."""
    try:
        # Unbuffered: a buffer would read on into the tensor data.
        with path.open("rb", buffering=0) as file:
            length = int.from_bytes(file.read(LENGTH_BYTES) or b"", "little")
            return file.read(min(length, HEADER_LIMIT_BYTES)) or b""
    except OSError:
        return b""


def processor() -> str:
    """The model and a digest of its instructions: compiled code uses those that it found."""
    cpu = read_host_facts(Path("/")).cpu
    return f"{cpu.model or 'unknown'}, instructions {digest(' '.join(cpu.flags).encode())}"


def card_fields(config: RigConfig, cards: GpuFacts | None) -> dict[str, str]:
    if config.engine.device != "cuda":
        return {}
    facts = cards or read_gpu_facts()
    names = [f"{card.name} {'.'.join(map(str, card.compute_capability or ()))}".strip() for card in facts.cards]
    counted = [f"{names.count(name)} x {name}" for name in dict.fromkeys(names)]
    return {"cards": ", ".join(counted), "driver": facts.driver_version or ""}


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]

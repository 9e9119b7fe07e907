"""Predicted tokens of the KV cache against the engine's own count for the same bytes."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from rigappliance.plan.arguments import EngineArguments
from rigappliance.plan.catalogue import from_catalogue
from rigappliance.plan.kvcache import kv_blocks, kv_tokens
from tests.checkpoints import write_headers

pytestmark = pytest.mark.engine
SCRIPT = Path(__file__).parent / "meta_cache.py"
GIB = 1024**3


@dataclass(frozen=True)
class Case:
    """``block_tokens`` ``None`` leaves the block to the CPU build's default; 16 is that of cards."""

    model: str
    available_bytes: tuple[int, ...]
    tensor_parallel: int = 1
    max_model_len: int = 4096
    block_tokens: int | None = 16
    kv_cache_dtype: str = "auto"
    dtype: str = "auto"

    @property
    def arguments(self) -> EngineArguments:
        return EngineArguments(
            tensor_parallel=self.tensor_parallel,
            pipeline_parallel=len(self.available_bytes),
            max_model_len=self.max_model_len,
            kv_cache_dtype=self.kv_cache_dtype,
            dtype=self.dtype,
            block_tokens=self.block_tokens,
        )

    @property
    def device(self) -> str:
        return "cuda" if self.block_tokens else "cpu"


SMALL, RIG = "Qwen2.5-0.5B-Instruct", "Qwen2.5-72B-Instruct-GPTQ-Int8"
CASES = (
    Case(RIG, (GIB,), tensor_parallel=8),
    Case(RIG, (987_654_321,), tensor_parallel=8, kv_cache_dtype="fp8"),
    # Uneven: 12, 12, 14, 14, ... layers, and a stage with less room than the others.
    Case("Qwen2.5-0.5B-Instruct", (GIB, GIB, 700_000_000, GIB, GIB)),
    Case("Qwen2.5-32B-Instruct-AWQ", (2 * GIB, 3 * GIB), tensor_parallel=4, max_model_len=1000),
    # 2 KV heads for 8 ranks: one each, copied.
    Case("Qwen2.5-3B-Instruct", (GIB,), tensor_parallel=8, max_model_len=32768),
    Case("Qwen3-8B", (3 * GIB,), tensor_parallel=2, max_model_len=40960, block_tokens=32),
    Case("Qwen3-30B-A3B", (GIB,), tensor_parallel=4),
    Case("Llama-3.1-70B-Instruct", (5 * GIB,), tensor_parallel=8, max_model_len=5000),
    Case(SMALL, (GIB,), block_tokens=None),
    Case(SMALL, (GIB // 3,), tensor_parallel=2, max_model_len=1000, block_tokens=None),
    Case(SMALL, (GIB,), max_model_len=1, block_tokens=None),
    Case(SMALL, (GIB,), dtype="float32", max_model_len=777, block_tokens=64),
)


@pytest.fixture(scope="module")
def answers(engine_python: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, int]]:
    directory = tmp_path_factory.mktemp("checkpoints")
    tasks = []
    for number, case in enumerate(CASES):
        path = write_headers(from_catalogue(case.model), directory / str(number))
        tasks.append(
            {
                "directory": str(path),
                "tensor_parallel": case.tensor_parallel,
                "pipeline_parallel": len(case.available_bytes),
                "available_bytes": list(case.available_bytes),
                "max_model_len": case.max_model_len,
                "block_size": case.block_tokens,
                "kv_cache_dtype": case.kv_cache_dtype,
                "dtype": case.dtype,
            }
        )
    process = subprocess.run(
        ["nice", "-n", "19", str(engine_python), str(SCRIPT)], input=json.dumps(tasks), capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr[-4000:]
    result: list[dict[str, int]] = json.loads(process.stdout)
    return result


@pytest.mark.parametrize("number", range(len(CASES)))
def test_as_many_tokens_as_the_engine_says(number: int, answers: list[dict[str, int]]) -> None:
    case = CASES[number]
    predicted = {
        "tokens": kv_tokens(from_catalogue(case.model), case.arguments, case.available_bytes, case.device),
        "blocks": kv_blocks(from_catalogue(case.model), case.arguments, case.available_bytes, case.device),
    }
    assert predicted == answers[number]

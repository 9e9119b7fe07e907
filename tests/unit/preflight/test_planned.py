"""The plan as a finding: a launch refuses what cannot fit, and says which line of the ledger overflows."""

from __future__ import annotations

from pathlib import Path

import pytest

from rigappliance.config import RigConfig
from rigappliance.facts.gpu import CardFacts, GpuFacts
from rigappliance.plan.catalogue import from_catalogue
from rigappliance.preflight.finding import Finding
from rigappliance.preflight.planned import check_plan
from tests.hollow import write_hollow

MIB = 1 << 20


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "72B"
    write_hollow(from_catalogue("Qwen/Qwen2.5-72B-Instruct-GPTQ-Int8"), path)
    return path


def finding(checkpoint: Path, tmp_path: Path, *, card: int = 12288, count: int = 8, **engine: object) -> Finding:
    config = RigConfig.model_validate({"state_dir": tmp_path, "model": {"path": str(checkpoint)}, "engine": engine})
    cards = tuple(CardFacts(index, memory_total_bytes=card * MIB) for index in range(count))
    found = check_plan(config, GpuFacts(cards=cards))
    assert len(found) <= 1
    return found[0] if found else Finding("", "ok", "")


def test_the_seeds_start_fits_and_the_tokens_are_told(checkpoint: Path, tmp_path: Path) -> None:
    found = finding(checkpoint, tmp_path)
    assert found.severity == "ok" and "tokens of KV cache" in found.found


def test_a_start_that_is_only_just_possible_is_warned_of(checkpoint: Path, tmp_path: Path) -> None:
    found = finding(checkpoint, tmp_path, gpu_memory_utilization=0.9)
    assert found.severity == "warn" and "gpu_memory_utilization" in found.remedy


def test_what_cannot_fit_forbids_the_start_and_names_the_line(checkpoint: Path, tmp_path: Path) -> None:
    found = finding(checkpoint, tmp_path, card=8192)
    assert found.severity == "fail" and "weights finds no room" in found.found
    longer = finding(checkpoint, tmp_path, max_model_len=16384)
    assert longer.severity == "fail" and "kv-cache" in longer.found
    assert longer.remedy.startswith("set engine.")


def test_where_nothing_can_be_planned_it_says_nothing(checkpoint: Path, tmp_path: Path) -> None:
    assert finding(checkpoint, tmp_path, count=7).check == "", "too few cards: another finding"
    assert finding(checkpoint, tmp_path, device="cpu").check == ""


def test_of_a_checkpoint_that_cannot_be_read_other_findings_tell(tmp_path: Path) -> None:
    assert finding(tmp_path / "nothing", tmp_path).check == ""


def test_a_calibration_that_makes_no_sense_forbids_nothing(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "calibration.toml").write_text("value = 3")
    found = finding(checkpoint, tmp_path)
    assert found.severity == "warn" and found.found.startswith("not planned")

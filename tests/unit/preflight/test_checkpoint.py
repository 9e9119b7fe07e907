"""A whole checkpoint passes; each problem and each impossible layout is named with its remedy."""

from __future__ import annotations

from typing import Any

import pytest

from rigappliance.facts.model import ModelProblem, Quantisation
from rigappliance.preflight.checkpoint import check_checkpoint
from tests.unit.preflight.rig import config, cpu_config, of, qwen, severities


def engine(**values: Any) -> Any:
    return config(engine=values, hardware={"cards": 1024})


def test_the_rig_passes() -> None:
    findings = check_checkpoint(config(), qwen())
    assert severities(findings) == {"ok"}
    assert "gptq" in of(findings, "checkpoint.files").found


@pytest.mark.parametrize(
    ("kind", "severity", "remedy"),
    [
        ("shard-missing", "fail", "download the shard"),
        ("shard-truncated", "fail", "let the download finish"),
        ("shard-corrupt", "fail", "again"),
        ("shard-unreadable", "fail", "dmesg"),
        ("lfs-pointer", "fail", "git lfs pull"),
        ("directory-missing", "fail", "model.path"),
        ("config-not-json", "fail", "download the-file again"),
        ("tensor-missing", "fail", "download the-file again"),
        ("partial-download", "fail", "finish"),
        ("index-total-size", "warn", "again"),
        ("tensor-not-in-index", "warn", "again"),
        ("index-missing", "warn", "index.json"),
    ],
)
def test_each_problem_is_a_finding_with_a_remedy(kind: str, severity: str, remedy: str) -> None:
    findings = check_checkpoint(config(), qwen(problems=(ModelProblem(kind, "the-file", "the-detail"),)))
    finding = next(f for f in findings if f.check == "checkpoint.files" and f.severity != "ok")
    assert finding.severity == severity
    assert finding.found.startswith("the-file")
    assert finding.found.endswith(": the-detail")
    assert ("JSON" in finding.found) == kind.endswith("-not-json")
    assert remedy in finding.remedy
    # Only a checkpoint without a failure is also called whole.
    assert ("ok" in {f.severity for f in findings if f.check == "checkpoint.files"}) is (severity == "warn")


@pytest.mark.parametrize(
    ("ranks", "heads", "severity", "suggested"),
    [(8, 64, "ok", 0), (1, 7, "ok", 0), (3, 64, "fail", 2), (6, 40, "fail", 5), (128, 64, "fail", 64)],
)
def test_tensor_parallel_divides_the_heads(ranks: int, heads: int, severity: str, suggested: int) -> None:
    model = qwen(heads=heads, kv_heads=1, intermediate_size=None)
    finding = of(check_checkpoint(engine(tensor_parallel=ranks), model), "checkpoint.tensor_parallel")
    assert finding.severity == severity
    if suggested:
        assert finding.remedy == f"set engine.tensor_parallel to {suggested}"


@pytest.mark.parametrize(
    ("ranks", "kv_heads", "severity"), [(8, 8, "ok"), (4, 8, "ok"), (8, 2, "ok"), (8, 6, "fail"), (12, 8, "fail")]
)
def test_kv_heads_are_shared_or_copied_evenly(ranks: int, kv_heads: int, severity: str) -> None:
    findings = check_checkpoint(engine(tensor_parallel=ranks), qwen(kv_heads=kv_heads))
    assert of(findings, "checkpoint.kv_heads").severity == severity


@pytest.mark.parametrize(
    ("size", "quantisation", "ranks", "severity"),
    [
        (29696, Quantisation("gptq", 8, 128), 8, "ok"),
        # The size before padding, which is why Qwen pads it.
        (29568, Quantisation("gptq", 8, 128), 8, "fail"),
        (29568, Quantisation("gptq", 8, 128), 1, "ok"),
        (29568, Quantisation("gptq", 8, -1), 8, "ok"),
        (29568, None, 8, "ok"),
        (29569, None, 8, "fail"),
    ],
)
def test_slices_of_the_mlp_do_not_cut_groups(
    size: int, quantisation: Quantisation | None, ranks: int, severity: str
) -> None:
    model = qwen(intermediate_size=size, quantisation=quantisation)
    findings = check_checkpoint(engine(tensor_parallel=ranks), model)
    assert of(findings, "checkpoint.intermediate_size").severity == severity


@pytest.mark.parametrize(("stages", "severity"), [(80, "ok"), (81, "fail")])
def test_each_stage_has_a_layer(stages: int, severity: str) -> None:
    findings = check_checkpoint(engine(tensor_parallel=1, pipeline_parallel=stages), qwen())
    assert of(findings, "checkpoint.pipeline_parallel").severity == severity


@pytest.mark.parametrize(
    ("length", "environment", "severity"),
    [(32768, {}, "ok"), (32769, {}, "fail"), (32769, {"VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1"}, "warn")],
)
def test_the_length_stays_within_the_positions(length: int, environment: dict[str, str], severity: str) -> None:
    findings = check_checkpoint(engine(max_model_len=length, environment=environment), qwen())
    assert of(findings, "checkpoint.max_model_len").severity == severity


@pytest.mark.parametrize(
    ("size", "severity"), [(128, "ok"), (64, "ok"), (32, "warn"), (16, "fail"), (48, "fail"), (100, "fail")]
)
def test_the_cpu_takes_certain_head_sizes(size: int, severity: str) -> None:
    assert of(check_checkpoint(cpu_config(), qwen(head_dim=size)), "checkpoint.head_dim").severity == severity


def test_head_sizes_matter_on_the_cpu_alone() -> None:
    assert not [f for f in check_checkpoint(config(), qwen(head_dim=16)) if f.check == "checkpoint.head_dim"]


def test_a_vocabulary_that_does_not_divide_is_padded_by_the_engine() -> None:
    assert severities(check_checkpoint(config(), qwen(vocab_size=151665))) == {"ok"}


def test_a_missing_chat_template_is_a_warning() -> None:
    findings = check_checkpoint(config(), qwen(chat_template=False))
    assert of(findings, "checkpoint.chat_template").severity == "warn"


def test_what_config_json_does_not_say_is_not_judged() -> None:
    unknown = dict.fromkeys(("layers", "heads", "kv_heads", "head_dim", "intermediate_size", "max_positions"))
    assert [f.check for f in check_checkpoint(cpu_config(), qwen(**unknown))] == ["checkpoint.files"]

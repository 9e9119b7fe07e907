"""Cards: eight on risers pass; a missing, small, busy or old one is named."""

from __future__ import annotations

import pytest

from rigappliance.facts.gpu import CardFacts, GpuFacts
from rigappliance.facts.model import Quantisation
from rigappliance.preflight.cards import check_cards
from tests.unit.preflight.rig import GB, GIB, card, config, cpu_config, gpu, of, qwen, severities


def test_the_rig_passes_and_its_links_are_on_record() -> None:
    findings = check_cards(config(), gpu(), qwen())
    assert severities(findings) == {"ok"}
    assert of(findings, "cards.pcie").found == "PCIe generation 3 x1 of x16 (8 cards)"


def test_a_cpu_engine_needs_no_card() -> None:
    findings = check_cards(cpu_config(), GpuFacts(reason="none"), qwen())
    assert [(f.check, f.severity) for f in findings] == [("cards.count", "ok")]


def test_no_card_gives_the_reason() -> None:
    (finding,) = check_cards(config(), GpuFacts(reason="NVML does not start: Driver Not Loaded"), qwen())
    assert finding.severity == "fail"
    assert "Driver Not Loaded" in finding.found


def test_a_card_too_few_for_the_layout_fails() -> None:
    finding = of(check_cards(config(), gpu(7), qwen()), "cards.count")
    assert (finding.severity, finding.found) == ("fail", "7 cards")


def test_a_lost_card_does_not_count_and_is_named() -> None:
    cards = (*gpu(7).cards, CardFacts(7, problem="GPU is lost"))
    finding = of(check_cards(config(), GpuFacts("580", "13.0", cards), qwen()), "cards.count")
    assert finding.severity == "fail"
    assert "card 7: GPU is lost" in finding.found


def test_fewer_than_declared_but_enough_is_a_warning() -> None:
    four = config(engine={"tensor_parallel": 4})
    assert of(check_cards(four, gpu(7), qwen()), "cards.count").severity == "warn"


@pytest.mark.parametrize(("memory_bytes", "severity"), [(int(11.4 * GB), "ok"), (int(11.3 * GB), "warn")])
def test_a_card_with_less_memory_than_declared_is_a_warning(memory_bytes: int, severity: str) -> None:
    cards = (*gpu(7).cards, card(7, memory_total_bytes=memory_bytes, memory_free_bytes=memory_bytes))
    finding = of(check_cards(config(), GpuFacts("580", "13.0", cards), qwen()), "cards.memory")
    assert finding.severity == severity
    assert severity == "ok" or "card 7 has" in finding.found


@pytest.mark.parametrize(("free_bytes", "severity"), [(int(10.3 * GIB), "ok"), (int(10.1 * GIB), "fail")])
def test_a_busy_card_fails(free_bytes: int, severity: str) -> None:
    cards = (*gpu(7).cards, card(7, memory_free_bytes=free_bytes))
    finding = of(check_cards(config(), GpuFacts("580", "13.0", cards), qwen()), "cards.free")
    assert finding.severity == severity


@pytest.mark.parametrize(
    ("engine", "tensor_bytes", "severity"),
    [
        ({}, 77 * GB, "ok"),
        ({}, 90 * GB, "fail"),
        ({"tensor_parallel": 4, "pipeline_parallel": 2}, 77 * GB, "ok"),
        ({"tensor_parallel": 4}, 77 * GB, "fail"),
        ({"gpu_memory_utilization": 0.7}, 77 * GB, "fail"),
        ({}, 0, "warn"),
    ],
)
def test_a_ranks_weights_fit_its_budget(engine: dict[str, object], tensor_bytes: int, severity: str) -> None:
    findings = check_cards(config(engine=engine), gpu(), qwen(tensor_bytes=tensor_bytes))
    assert of(findings, "cards.weights").severity == severity


def test_the_smallest_card_decides() -> None:
    small = card(7, memory_total_bytes=8 * GIB, memory_free_bytes=8 * GIB)
    facts = GpuFacts("580", "13.0", (*gpu(7).cards, small))
    assert of(check_cards(config(), facts, qwen()), "cards.weights").severity == "fail"


def test_a_small_display_card_beside_the_eight_is_left_alone() -> None:
    display = card(0, memory_total_bytes=2 * GIB, memory_free_bytes=GIB, compute_capability=(5, 0), pcie_width=16)
    facts = GpuFacts("580", "13.0", (display, *(card(i) for i in range(1, 9))))
    assert severities(check_cards(config(), facts, qwen())) == {"ok"}


@pytest.mark.parametrize(
    ("capability", "method", "dtype", "severity"),
    [
        ((7, 5), "gptq", "auto", "ok"),
        ((7, 0), "gptq", "auto", "fail"),
        ((7, 0), None, "auto", "ok"),
        ((6, 1), None, "auto", "fail"),
        ((6, 1), "gptq", "auto", "fail"),
        ((7, 5), None, "bfloat16", "fail"),
        ((8, 0), None, "bfloat16", "ok"),
        ((12, 0), "gptq", "auto", "ok"),
        (None, "gptq", "auto", "warn"),
    ],
)
def test_kernels_need_a_compute_capability(
    capability: tuple[int, int] | None, method: str | None, dtype: str, severity: str
) -> None:
    model = qwen(quantisation=Quantisation(method) if method else None)
    cards = (*gpu(7).cards, card(7, compute_capability=capability))
    findings = check_cards(config(engine={"dtype": dtype}), GpuFacts("580", "13.0", cards), model)
    assert of(findings, "cards.capability").severity == severity


@pytest.mark.parametrize(
    ("capability", "cache", "dtype", "of_model", "severity"),
    [
        # An H200 served such an engine until its first request.
        ((9, 0), "fp8", "auto", "float16", "fail"),
        ((9, 0), "fp8_e4m3", "float16", "bfloat16", "fail"),
        ((9, 0), "fp8", "bfloat16", "float16", "ok"),
        ((9, 0), "fp8", "auto", "bfloat16", "ok"),
        ((9, 0), "auto", "auto", "float16", "ok"),
        ((8, 9), "fp8", "auto", "float16", "ok"),
    ],
)
def test_attention_has_to_read_the_cache(
    capability: tuple[int, int], cache: str, dtype: str, of_model: str, severity: str
) -> None:
    declared = config(engine={"dtype": dtype, "kv_cache_dtype": cache})
    found = of(check_cards(declared, gpu(compute_capability=capability), qwen(dtype=of_model)), "cards.capability")
    assert found.severity == severity
    assert severity == "ok" or "bfloat16" in (found.remedy or "")


def test_a_declared_method_wins_over_the_checkpoints() -> None:
    declared = config(engine={"quantization": "gptq"})
    findings = check_cards(declared, gpu(compute_capability=(7, 0)), qwen(quantisation=None))
    assert of(findings, "cards.capability").severity == "fail"


def test_a_lost_card_is_not_given_to_a_rank() -> None:
    spare = (CardFacts(0, problem="GPU is lost"), *(card(i, memory_total_bytes=None) for i in range(1, 9)))
    findings = check_cards(config(), GpuFacts("580", "13.0", spare), qwen())
    assert of(findings, "cards.capability").severity == "ok"


def test_cards_that_tell_nothing_give_warnings_and_no_crash() -> None:
    facts = GpuFacts("580", "13.0", tuple(CardFacts(i) for i in range(8)))
    findings = check_cards(config(), facts, qwen())
    assert "fail" not in severities(findings)
    assert of(findings, "cards.weights").severity == "warn"

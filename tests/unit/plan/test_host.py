"""The host's ledger: where the processes' memory lies, and how much swap that takes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rigappliance.plan.coefficients import shipped
from rigappliance.plan.host import HostNeeds, plan_host
from rigappliance.units import SIZE_UNITS

GB, GIB = SIZE_UNITS["GB"], SIZE_UNITS["GiB"]
RIG = HostNeeds("cuda", 8, 16 * GB, int(0.9 * 16 * GB), 128 * GIB, largest_shard_bytes=4 * GB)
ON_A_CPU = HostNeeds("cpu", 2, 16 * GB, 16 * GB, 0, cpu_weights_bytes=GB, cpu_kv_bytes=GIB)


def test_the_rig_as_it_was_measured() -> None:
    """7.5 to 13 GB of RAM, 11 to 15 GB of swap."""
    plan = plan_host(RIG, shipped())
    assert plan.fits
    for phase in plan.phases:
        assert 7.5 * GB <= phase.ram_bytes <= 13 * GB, phase
        assert 11 * GB <= phase.swap_bytes <= 15 * GB, phase
    assert plan.swap_advised_bytes <= 32 * GIB, "a quarter of the seed's 128 GiB does"
    assert plan.swap_advised_bytes > plan.swap_needed_bytes


def test_without_swap_it_does_not_fit_and_the_ledger_names_what_overflows() -> None:
    plan = plan_host(replace(RIG, swap_bytes=0), shipped())
    assert not plan.fits
    overflow = plan.peak.ledger.overflow
    assert overflow is not None and overflow.name == "cuda"
    assert any("are needed" in note for note in plan.notes)


def test_forked_processes_hold_the_imports_once() -> None:
    numbers = shipped()
    lines = {line.name: line for line in plan_host(replace(RIG, start="shared"), numbers).phases[0].ledger.lines}
    stock = {line.name: line for line in plan_host(RIG, numbers).phases[0].ledger.lines}
    assert lines.keys() - stock.keys() == {"imports"}
    assert lines["imports"].size_bytes == numbers.size_bytes("host.imports")
    assert lines["workers"].size_bytes == 8 * numbers.size_bytes("host.worker_own")
    for name in ("supervisor", "cuda"):
        assert lines[name] == stock[name]
    own = sum(lines[name].size_bytes for name in ("imports", "api-server", "engine-core", "workers"))
    all_alone = sum(stock[name].size_bytes for name in ("api-server", "engine-core", "workers"))
    assert own < 0.6 * all_alone


def test_a_limit_above_the_ram_limits_nothing() -> None:
    plan = plan_host(replace(RIG, limit_bytes=64 * GB), shipped())
    assert plan.room_bytes < 16 * GB and "limits nothing" in plan.notes[0]


def test_a_shard_that_cannot_be_mapped_asks_for_swap_of_its_own() -> None:
    plan = plan_host(replace(RIG, largest_shard_bytes=77 * GB), shipped())
    assert plan.swap_advised_bytes >= 61 * GB


sizes = st.integers(0, 10**12)


@given(
    st.builds(
        HostNeeds,
        device=st.sampled_from(["cuda", "cpu"]),
        start=st.sampled_from(["shared", "stock"]),
        ranks=st.integers(1, 16),
        ram_bytes=sizes,
        limit_bytes=sizes,
        swap_bytes=sizes,
        largest_shard_bytes=sizes,
        cpu_weights_bytes=sizes,
        cpu_kv_bytes=sizes,
    )
)
def test_every_byte_lies_somewhere_and_no_place_holds_more_than_it_has(needs: HostNeeds) -> None:
    plan = plan_host(needs, shipped())
    for phase in plan.phases:
        assert phase.ram_bytes + phase.swap_bytes + phase.missing_bytes == phase.ledger.used_bytes
        assert min(phase.ram_bytes, phase.swap_bytes, phase.missing_bytes, phase.cache_bytes) >= 0
        assert phase.ram_bytes + phase.cache_bytes <= plan.room_bytes and phase.swap_bytes <= needs.swap_bytes
        assert bool(phase.missing_bytes) == (phase.ledger.free_bytes < 0)
    advised = plan_host(replace(needs, swap_bytes=plan.swap_advised_bytes), shipped())
    assert advised.fits


@pytest.mark.parametrize("field", ["ram_bytes", "swap_bytes"])
def test_more_of_it_never_makes_it_worse(field: str) -> None:
    tight = replace(RIG, ram_bytes=8 * GB, limit_bytes=8 * GB, swap_bytes=8 * GIB)
    more = replace(tight, **{field: 2 * getattr(tight, field)})
    before, after = (plan_host(needs, shipped()).peak.missing_bytes for needs in (tight, more))
    assert after <= before and before > 0


def test_on_a_cpu_the_compiler_comes_before_the_kv_cache() -> None:
    numbers = shipped()
    phases = {phase.phase: phase.ledger for phase in plan_host(ON_A_CPU, numbers).phases}
    assert list(phases) == ["loading", "compiling", "serving"]
    compiler = numbers.size_bytes("host.compiler")
    assert phases["compiling"].used_bytes == phases["loading"].used_bytes + compiler
    assert phases["serving"].used_bytes == phases["loading"].used_bytes + 2 * GIB
    assert "compiling" not in {phase.phase for phase in plan_host(RIG, numbers).phases}

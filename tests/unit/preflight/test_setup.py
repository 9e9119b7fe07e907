"""Where the line runs between what is well and what is not."""

from __future__ import annotations

import calendar
import tomllib

import pytest

from rigappliance.facts.clock import ClockFacts
from rigappliance.facts.diskspeed import DiskSpeed
from rigappliance.facts.gpu import GpuFacts
from rigappliance.facts.hashes import HashFacts
from rigappliance.facts.host import CpuFacts, SwapDevice
from rigappliance.facts.kernel import KernelFacts
from rigappliance.facts.limits import Limit, LimitFacts
from rigappliance.facts.memorylimit import MemoryLimitFacts
from rigappliance.facts.sharedmemory import SharedMemoryFacts
from rigappliance.facts.swapareas import SwapPieces
from rigappliance.facts.toolchain import Probe, ToolchainFacts
from rigappliance.preflight.clock import check_clock
from rigappliance.preflight.contents import check_hashes
from rigappliance.preflight.cpu import DATA, Need, check_cpu, needs
from rigappliance.preflight.disk import check_speed
from rigappliance.preflight.driver import check_driver
from rigappliance.preflight.kernelmemory import check_fragmentation, check_huge_pages, check_overcommit
from rigappliance.preflight.limits import check_limits, parse
from rigappliance.preflight.memory import check_memory
from rigappliance.preflight.memorylimit import check_memory_limit, effective_limit
from rigappliance.preflight.sharedmemory import check_shared_memory
from rigappliance.preflight.swap import check_kind, check_pieces, check_priority
from rigappliance.preflight.toolchain import check_toolchain
from tests.unit.preflight.rig import GB, GIB, config, cpu_config, host, of, qwen

MIB = 1024**2
RAM = 16222160 * 1024


@pytest.mark.parametrize(
    ("small", "large", "severity"),
    [
        (2 * GIB, 64 * MIB, "ok"),
        (2 * GIB, 63 * MIB, "warn"),
        (100 * MIB, 12 * MIB, "ok"),
        (100 * MIB, 10 * MIB, "warn"),
    ],
)
def test_crumbs_are_little_in_large_blocks_both_in_bytes_and_as_a_share(small: int, large: int, severity: str) -> None:
    kernel = KernelFacts(free_by_order=(small // 2, 0, 0, small // 2, large))
    finding = check_fragmentation(kernel)
    assert finding.severity == severity
    assert bool(finding.fix) is (severity == "warn")


@pytest.mark.parametrize(
    ("enabled", "defrag", "severity"),
    [
        ("always", "always", "warn"),
        ("always", "madvise", "ok"),
        ("madvise", "always", "ok"),
        ("never", "always", "ok"),
        (None, None, "ok"),
    ],
)
def test_huge_pages_stall_only_where_every_fault_may_wait(
    enabled: str | None, defrag: str | None, severity: str
) -> None:
    kernel = KernelFacts(huge_pages=enabled, huge_pages_defrag=defrag)
    assert check_huge_pages(kernel).severity == severity


@pytest.mark.parametrize(
    ("mode", "left", "severity"),
    [(0, 0, "ok"), (1, 0, "ok"), (2, 33 * GB, "warn"), (2, 31 * GB, "fail"), (2, None, "warn"), (None, None, "ok")],
)
def test_eight_ranks_map_the_largest_shard_of_4_gb_each(mode: int | None, left: int | None, severity: str) -> None:
    kernel = KernelFacts(overcommit=mode, commit_left_bytes=left)
    assert check_overcommit(config(), kernel, qwen()).severity == severity


@pytest.mark.parametrize(("overcommit", "checked"), [(None, True), (0, True), (1, False), (2, False)])
def test_a_mapping_beyond_ram_and_swap_is_refused_in_the_usual_mode_alone(
    overcommit: int | None, checked: bool
) -> None:
    checks = {finding.check for finding in check_memory(config(), host(), qwen(), overcommit=overcommit)}
    assert ("memory.mapping" in checks) is checked


def test_a_lower_limit_leaves_less_to_the_engine_than_was_declared() -> None:
    findings = check_memory(config(), host(swap_bytes=14 * GB), qwen(), limit_bytes=4 * GIB)
    assert of(findings, "memory.host").severity == "fail"


@pytest.mark.parametrize(
    ("size", "extents", "severity"),
    [(128 * GIB, 32768, "ok"), (128 * GIB, 32769, "warn"), (MIB, 1, "ok"), (MIB, 2, "warn"), (GIB, None, "ok")],
)
def test_pieces_of_a_swap_file(size: int, extents: int | None, severity: str) -> None:
    (finding,) = check_pieces((SwapPieces("/swap", size, extents),))
    assert finding.severity == severity


def test_the_declared_file_alone_is_judged_by_its_priority() -> None:
    own, other = (
        SwapDevice("/var/lib/rigappliance.swap", "file", 1, 0, 10),
        SwapDevice("/dev/sda3", "partition", 1, 0, 9),
    )
    assert check_priority(config(), (own, other)).severity == "ok"
    later = SwapDevice("/dev/sda3", "partition", 1, 0, 11)
    assert check_priority(config(), (own, later)).severity == "warn"
    assert check_priority(config(), (other, later)).severity == "ok"


def test_zram_is_no_disk() -> None:
    assert check_kind((SwapDevice("/dev/zram1", "partition", 5, 0, 100),)).severity == "warn"
    assert check_kind((SwapDevice("/dev/sda3", "partition", 5, 0, 100),)).severity == "ok"


@pytest.mark.parametrize(
    ("total", "free", "ranks", "severity"),
    [
        (8 * GIB, 8 * GIB, 8, "ok"),
        (8 * GIB, 240 * MIB, 8, "ok"),
        (8 * GIB, 239 * MIB, 8, "fail"),
        (GIB - 1, GIB - 1, 8, "warn"),
        (GIB - 1, GIB - 1, 1, "ok"),
    ],
)
def test_shared_memory_for_rings_and_for_nccl(total: int, free: int, ranks: int, severity: str) -> None:
    declared = config(engine={"tensor_parallel": ranks})
    assert check_shared_memory(declared, SharedMemoryFacts(total, free)).severity == severity


def test_ranks_on_the_cpu_do_without_nccl() -> None:
    assert check_shared_memory(cpu_config(tensor_parallel=2), SharedMemoryFacts(GIB - 1, GIB - 1)).severity == "ok"


@pytest.mark.parametrize(
    ("nofile", "memlock", "expected"),
    [
        (Limit(1024, 4096), Limit(1, 8 * MIB), ["ok", "ok"]),
        (Limit(1024, 4095), Limit(1, 8 * MIB - 1), ["warn", "warn"]),
        (Limit(1, None), Limit(1, None), ["ok", "ok"]),
        (None, None, []),
    ],
)
def test_the_hard_limit_counts_since_the_engine_raises_the_soft_one(
    nofile: Limit | None, memlock: Limit | None, expected: list[str]
) -> None:
    assert [finding.severity for finding in check_limits(LimitFacts(nofile, memlock))] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("65536", Limit(65536, 65536)),
        ("1024:infinity", Limit(1024, None)),
        ("8M", Limit(8 * MIB, 8 * MIB)),
        ("", None),
        ("many", None),
    ],
)
def test_limits_as_systemd_writes_them(text: str, expected: Limit | None) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(("share", "severity"), [(0.885, "ok"), (0.88, "warn")])
def test_a_group_may_round_but_not_take_away(share: float, severity: str) -> None:
    limits = MemoryLimitFacts(2, systemd=True, unit_bytes=int(RAM * share), unit_group="/system.slice")
    finding = check_memory_limit(config(), host(), limits)
    assert finding.severity == severity
    assert severity == "ok" or "systemctl set-property system.slice MemoryMax" in finding.remedy


@pytest.mark.parametrize(("systemd", "severity"), [(True, "warn"), (False, "ok")])
def test_control_groups_of_version_1_matter_where_systemd_makes_the_unit(systemd: bool, severity: str) -> None:
    assert check_memory_limit(config(), host(), MemoryLimitFacts(1, systemd)).severity == severity


def test_the_smaller_of_the_two_limits_is_in_force() -> None:
    assert effective_limit(MemoryLimitFacts(own_bytes=5, unit_bytes=3)) == 3
    assert effective_limit(MemoryLimitFacts(own_bytes=5)) == 5
    assert effective_limit(MemoryLimitFacts()) is None


@pytest.mark.parametrize(
    ("year", "synchronised", "severity"),
    [(2026, True, "ok"), (2028, None, "ok"), (2025, True, "warn"), (2029, True, "warn"), (2026, False, "warn")],
)
def test_years_of_the_clock(year: int, synchronised: bool | None, severity: str) -> None:
    now = calendar.timegm((year, 6, 1, 0, 0, 0))
    assert check_clock(ClockFacts(now, synchronised)).severity == severity


@pytest.mark.parametrize(
    ("version", "cuda", "severity"),
    [
        ("580.65.06", 13, "ok"),
        ("579.99", 13, "fail"),
        ("579.99", None, "fail"),
        ("525.60", 12, "ok"),
        ("520.60", 12, "fail"),
        (None, 13, "warn"),
        ("590.1", 14, "ok"),
    ],
)
def test_drivers(version: str | None, cuda: int | None, severity: str) -> None:
    assert check_driver(GpuFacts(version, "13.0"), cuda).severity == severity


def test_the_cpu_table_is_about_x86_and_the_declared_device() -> None:
    rig = CpuFacts("Pentium", ("lm", "sse4_2"), 2, 2)
    assert check_cpu(config(), rig).severity == "ok"
    assert check_cpu(cpu_config(), rig).severity == "fail"
    assert check_cpu(cpu_config(), CpuFacts("Xeon", ("avx2", "lm"), 2, 2)).severity == "ok"
    assert check_cpu(cpu_config(), CpuFacts(None, ("asimd",), 2, 2)).severity == "ok"
    assert check_cpu(cpu_config(), CpuFacts(None, (), None, None)).severity == "warn"


def test_a_library_that_the_engine_can_do_without_is_no_failure() -> None:
    finding = check_cpu(config(), CpuFacts("Pentium", ("lm",), 2, 2), [Need("avx", "some.so", ("cuda",), "avoids")])
    assert (finding.severity, finding.found) == ("warn", "Pentium has no avx")
    assert "some.so" in finding.expected


def test_every_need_of_the_table_has_its_source() -> None:
    assert {need.effect for need in needs()} <= {"dies", "avoids"}
    entries = tomllib.loads(DATA.read_text(encoding="utf-8"))["need"]
    assert entries
    for entry in entries:
        assert set(entry) == {"feature", "library", "devices", "effect", "source", "date"}
        assert set(entry["devices"]) <= {"cuda", "cpu"}


@pytest.mark.parametrize(("mb_s", "severity"), [(60, "ok"), (59, "warn")])
def test_speed_of_a_disk(mb_s: int, severity: str) -> None:
    finding = check_speed(DiskSpeed("/m/a", mb_s * 1000**2, 1.0), qwen(file_bytes=77 * GB, tensor_bytes=GB))
    assert finding.severity == severity
    assert "21 min" in finding.found


def test_a_file_of_a_few_bytes_tells_nothing_about_a_disk() -> None:
    assert "too few" in check_speed(DiskSpeed("/m/a", 10**6, 10.0), qwen(file_bytes=10**6)).found


def test_a_shard_that_cannot_be_read_has_no_speed() -> None:
    assert check_speed(DiskSpeed("/m/a", problem="Input/output error"), qwen()).severity == "warn"


@pytest.mark.parametrize(
    ("hashes", "severity"),
    [
        (HashFacts(recorded=False), "warn"),
        (HashFacts(True, 3, 100), "ok"),
        (HashFacts(True, 3, 100, wrong=("a",)), "fail"),
        (HashFacts(True, 3, 100, unreadable=("a: Input/output error",)), "fail"),
    ],
)
def test_checksums(hashes: HashFacts, severity: str) -> None:
    assert check_hashes(hashes).severity == severity


def test_a_cpu_engine_needs_a_cxx_compiler_and_one_for_cards_can_do_without() -> None:
    broken = ToolchainFacts(cxx=Probe("/usr/bin/g++", "cannot execute cc1plus"))
    assert of(check_toolchain(cpu_config(), broken), "toolchain.cxx").severity == "fail"
    finding = of(check_toolchain(config(), broken), "toolchain.cxx")
    assert (finding.severity, finding.found) == ("warn", "/usr/bin/g++: cannot execute cc1plus")


@pytest.mark.parametrize(
    ("probe", "words"),
    [
        (Probe(None, "there is no compiler on the PATH"), "install one, or set CC"),
        (Probe("/bin/gcc", "a.c:1:10: fatal error: Python.h: No such file"), "install the headers"),
        (Probe("/bin/gcc", "cannot find 'ld'"), "make /bin/gcc work"),
    ],
)
def test_what_is_missing_is_what_is_to_be_installed(probe: Probe, words: str) -> None:
    assert of(check_toolchain(config(), ToolchainFacts(c=probe)), "toolchain.c").remedy.startswith(words)


def test_an_interpreter_that_does_not_answer_is_no_proof_against_the_compiler() -> None:
    facts = ToolchainFacts(c=Probe("/usr/bin/gcc", "it crashed", tried=False))
    assert of(check_toolchain(config(), facts), "toolchain.c").severity == "warn"


@pytest.mark.parametrize(
    ("device", "numa", "severity"), [("cpu", True, "ok"), ("cpu", False, "fail"), ("cuda", False, "ok")]
)
def test_the_cpu_build_is_linked_with_libnuma(device: str, numa: bool, severity: str) -> None:
    declared = cpu_config() if device == "cpu" else config()
    assert of(check_toolchain(declared, ToolchainFacts(numa=numa)), "toolchain.numa").severity == severity


def test_without_nvcc_the_engine_still_runs() -> None:
    facts = ToolchainFacts(cuda_link=Probe("/usr/bin/gcc"), ninja="/usr/bin/ninja")
    finding = of(check_toolchain(config(), facts), "toolchain.nvcc")
    assert (finding.severity, "no nvcc" in finding.found) == ("ok", True)

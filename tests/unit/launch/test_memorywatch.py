"""The kernel's counters of memory, from files as kernels write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from rigappliance.launch import cgroup
from rigappliance.launch.memorywatch import MemoryWatch, largest_free_order

GIB = 1 << 30


class Machine:
    """Files below ``root``; the process is in a unit of version 2, below a slice."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.group = root / "sys/fs/cgroup/system.slice/rig.service"
        self.write("proc/self/cgroup", "0::/system.slice/rig.service\n")
        self.write("sys/fs/cgroup/system.slice/memory.max", "max\n")
        self.write("sys/fs/cgroup/memory.stat", "")
        self.count()
        self.memory(free_kib=1000, swap_free_kib=2000)

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def count(self, oom: int = 0, kills: int = 0, fail: int = 0, machine: int = 0) -> None:
        place = "sys/fs/cgroup/system.slice/rig.service"
        self.write(f"{place}/memory.events", f"low 0\nhigh 0\nmax 41\noom {oom}\noom_kill {kills}\noom_group_kill 0\n")
        self.write(f"{place}/memory.swap.events", f"high 0\nmax 0\nfail {fail}\n")
        self.write(f"{place}/memory.max", f"{14 * GIB}\n")
        self.write(f"{place}/memory.peak", f"{13 * GIB}\n")
        self.write("proc/vmstat", f"nr_free_pages 1234\noom_kill {machine}\n")

    def memory(self, free_kib: int, swap_free_kib: int) -> None:
        lines = {"MemTotal": 16000, "MemAvailable": free_kib, "SwapTotal": 4000, "SwapFree": swap_free_kib}
        self.write("proc/meminfo", "".join(f"{name}:    {kib} kB\n" for name, kib in lines.items()))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_counters_are_those_since_the_start(machine: Machine) -> None:
    machine.count(oom=3, kills=2, fail=10, machine=7)
    watch = MemoryWatch(machine.root)
    quiet = watch.evidence()
    assert (quiet.limit_hits, quiet.kills, quiet.swap_refusals, quiet.machine_kills) == (0, 0, 0, 0)
    machine.count(oom=4, kills=3, fail=32, machine=8)
    seen = watch.evidence()
    assert (seen.limit_hits, seen.kills, seen.swap_refusals, seen.machine_kills) == (1, 1, 22, 1)
    assert (seen.limit_bytes, seen.peak_bytes) == (14 * GIB, 13 * GIB)


def test_a_group_that_was_made_anew_counts_from_zero(machine: Machine) -> None:
    watch = MemoryWatch(machine.root, before={"kills": 5, "limit_hits": 5})
    machine.count(oom=1, kills=1)
    assert (watch.evidence().kills, watch.evidence().limit_hits) == (0, 0)


def test_what_somebody_else_wrote_down_is_the_start(machine: Machine) -> None:
    machine.count(kills=2, machine=9)
    seen = MemoryWatch(machine.root, before={"kills": 1, "machine_kills": 9}).evidence()
    assert (seen.kills, seen.machine_kills) == (1, 0)


def test_the_lowest_values_are_kept(machine: Machine) -> None:
    watch = MemoryWatch(machine.root)
    machine.memory(free_kib=100, swap_free_kib=0)
    watch.sample()
    machine.memory(free_kib=900, swap_free_kib=1500)
    watch.sample()
    seen = watch.evidence()
    assert (seen.available_low_bytes, seen.swap_free_low_bytes) == (100 * 1024, 0)
    assert seen.swap_total_bytes == 4000 * 1024


def test_the_lowest_limit_on_the_way_up_counts(machine: Machine) -> None:
    machine.write("sys/fs/cgroup/system.slice/memory.max", f"{2 * GIB}\n")
    assert MemoryWatch(machine.root).evidence().limit_bytes == 2 * GIB
    machine.write("sys/fs/cgroup/system.slice/memory.max", "max\n")
    machine.write("sys/fs/cgroup/system.slice/rig.service/memory.max", "max\n")
    assert MemoryWatch(machine.root).evidence().limit_bytes is None


def test_version_1_tells_of_kills_and_its_limit(tmp_path: Path) -> None:
    place = tmp_path / "sys/fs/cgroup/memory/rig"
    place.mkdir(parents=True)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("4:memory:/rig\n2:cpu,cpuacct:/\n0::/\n")
    (place / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n")
    (place / "memory.limit_in_bytes").write_text(f"{GIB}\n")
    (place / "memory.max_usage_in_bytes").write_text("4096\n")
    (tmp_path / "sys/fs/cgroup/memory/memory.limit_in_bytes").write_text("9223372036854771712\n")
    watch = MemoryWatch(tmp_path)
    (place / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n")
    seen = watch.evidence()
    assert (seen.kills, seen.limit_hits, seen.limit_bytes, seen.peak_bytes) == (1, None, GIB, 4096)
    (place / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert watch.evidence().limit_bytes is None


@pytest.mark.parametrize("text", ["", "0::/nowhere\n", "nonsense", "4:memory:/gone\n"])
def test_nothing_is_known_where_no_group_counts(tmp_path: Path, text: str) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(text)
    assert cgroup.own_group(tmp_path) is None
    seen = MemoryWatch(tmp_path).evidence()
    assert (seen.kills, seen.limit_bytes, seen.machine_kills, seen.largest_free_order) == (None, None, None, None)


def test_files_of_nonsense_say_nothing(machine: Machine) -> None:
    machine.count(kills=1)
    for name in ("memory.events", "memory.max", "memory.peak", "memory.swap.events"):
        machine.group.joinpath(name).write_bytes(b"\xff oom_kill x\noom_kill -1\n")
    seen = MemoryWatch(machine.root).evidence()
    assert (seen.kills, seen.limit_bytes, seen.peak_bytes) == (None, None, None)


HEALTHY = """Node 0, zone      DMA      0      0      0      0      0      0      0      0      1      1      3
Node 0, zone    DMA32      1      2      4      2      5      4      3      4      5      3    751
Node 0, zone   Normal   7253   5801   4679   2205   2096   1034    471    180     76     84   3262
"""
FRAGMENTED = """Node 0, zone      DMA      0      0      0      0      0      0      0      0      1      1      3
Node 0, zone    DMA32   1300    200      0      0      0      0      0      0      0      0      0
Node 0, zone   Normal   7253   5801     12      0      0      0      0      0      0      0      0
"""


@pytest.mark.parametrize(
    ("text", "order"),
    [
        (HEALTHY, 10),
        (FRAGMENTED, 2),
        ("Node 0, zone   Normal 0 0 0\n", 0),
        ("", None),
        ("Node 0, zone DMA 1 1\n", None),
    ],
)
def test_the_largest_free_block(text: str, order: int | None) -> None:
    assert largest_free_order(text) == order


def test_the_mark_of_oomd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group = cgroup.ControlGroup(tmp_path, tmp_path, 2)
    assert cgroup.oomd_kills(group) == 0
    monkeypatch.setattr("os.getxattr", lambda path, name: b"3" if name == "user.oomd_kill" else b"x")
    assert cgroup.oomd_kills(group) == 3

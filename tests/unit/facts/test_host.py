"""Host facts from recorded files of a two-core rig, and from machines that tell nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rigappliance.facts.host import (
    SwapDevice,
    mount_of,
    nearest_existing,
    parse_cpuinfo,
    parse_meminfo,
    parse_mountinfo,
    parse_swaps,
    read_host_facts,
)

FLAGS = (
    "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush dts acpi mmx fxsr sse sse2 ss ht "
    "tm pbe syscall nx pdpe1gb rdtscp lm constant_tsc art arch_perfmon pebs bts rep_good nopl xtopology nonstop_tsc "
    "cpuid aperfmperf pni pclmulqdq dtes64 monitor ds_cpl vmx est tm2 ssse3 sdbg cx16 xtpr pdcm pcid sse4_1 sse4_2 "
    "x2apic movbe popcnt tsc_deadline_timer aes xsave rdrand lahf_lm abm 3dnowprefetch cpuid_fault pti ibrs ibpb "
    "stibp tpr_shadow flexpriority ept vpid ept_ad fsgsbase tsc_adjust erms invpcid rdseed smap clflushopt intel_pt "
    "xsaveopt xsavec xgetbv1 xsaves dtherm arat pln pts hwp hwp_notify hwp_act_window hwp_epp"
)
CPUINFO = "\n".join(
    f"""processor\t: {core}
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 94
model name\t: Intel(R) Pentium(R) CPU G4400 @ 3.30GHz
stepping\t: 3
cpu MHz\t\t: 800.029
cache size\t: 3072 KB
physical id\t: 0
siblings\t: 2
core id\t\t: {core}
cpu cores\t: 2
apicid\t\t: {core * 2}
flags\t\t: {FLAGS}
bogomips\t: 6624.00
power management:
"""
    for core in (0, 1)
)
MEMINFO = """MemTotal:       16222160 kB
MemFree:          301248 kB
MemAvailable:   12843012 kB
SwapTotal:      134217724 kB
HugePages_Total:       0
Hugepagesize:       2048 kB
"""
SWAPS = """Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority
/swapfile                               file\t\t134217724\t12582912\t-2
/dev/sda3                               partition\t1048572\t0\t\t5
/srv/my\\040swap                         file\t\t1020\t4\t\t-3
"""
MOUNTINFO = """22 27 0:21 / /proc rw,nosuid,nodev,noexec,relatime shared:5 - proc proc rw
27 1 8:2 / / rw,relatime shared:1 - ext4 /dev/sda2 rw,errors=remount-ro
40 27 0:33 / /tmp rw,nosuid,nodev shared:20 - tmpfs tmpfs rw,size=8111080k
41 27 259:2 / /srv/my\\040disk rw,noatime shared:21 master:3 - xfs /dev/nvme0n1p2 rw,attr2
42 27 253:0 / /var/lib rw,relatime - ext4 /dev/mapper/vg-lib rw
43 27 0:40 / /data rw,relatime - btrfs /dev/sdb1 rw,space_cache=v2
44 27 0:41 / /remote rw,relatime - nfs4 store:/export rw,vers=4.2
"""


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def link(path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(os.path.relpath(target, path.parent))


@pytest.fixture
def rig(tmp_path: Path) -> Path:
    """The root of a recorded machine: an HDD, an NVMe disk, a mapped volume on the HDD, btrfs on the second HDD."""
    root = tmp_path / "root"
    write(root / "proc/cpuinfo", CPUINFO)
    write(root / "proc/meminfo", MEMINFO)
    write(root / "proc/swaps", SWAPS)
    write(root / "proc/self/mountinfo", MOUNTINFO)
    write(root / "proc/sys/kernel/osrelease", "6.12.58\n")
    write(root / "proc/sys/kernel/hostname", "rig\n")
    devices = root / "sys/devices"
    for disk, partition, number, rotational in (
        ("sda", "sda2", "8:2", 1),
        ("sdb", "sdb1", "8:17", 1),
        ("nvme0n1", "nvme0n1p2", "259:2", 0),
    ):
        write(devices / f"block/{disk}/queue/rotational", f"{rotational}\n")
        (devices / f"block/{disk}/{partition}").mkdir()
        link(root / f"sys/dev/block/{number}", devices / f"block/{disk}/{partition}")
        link(root / f"sys/class/block/{partition}", devices / f"block/{disk}/{partition}")
    # A mapped volume that calls itself solid-state, on a disk that turns.
    write(devices / "virtual/block/dm-0/queue/rotational", "0\n")
    link(devices / "virtual/block/dm-0/slaves/sda2", devices / "block/sda/sda2")
    link(root / "sys/dev/block/253:0", devices / "virtual/block/dm-0")
    for directory in ("var/lib", "srv/my disk/models", "data", "remote", "tmp", "home"):
        (root / directory).mkdir(parents=True)
    return root


def test_the_pentium_has_two_cores_and_no_avx() -> None:
    cpu = parse_cpuinfo(CPUINFO)
    assert cpu.model == "Intel(R) Pentium(R) CPU G4400 @ 3.30GHz"
    assert (cpu.cores_physical, cpu.cores_logical) == (2, 2)
    assert "sse4_2" in cpu.flags
    assert not {"avx", "avx2"} & set(cpu.flags)
    assert list(cpu.flags) == sorted(cpu.flags)


def test_two_threads_of_one_core_are_one_physical_core() -> None:
    cpu = parse_cpuinfo(CPUINFO.replace("core id\t\t: 1", "core id\t\t: 0"))
    assert (cpu.cores_physical, cpu.cores_logical) == (1, 2)


def test_the_same_core_number_in_two_sockets_is_two_cores() -> None:
    first, second = CPUINFO.split("\n\n")
    second = second.replace("physical id\t: 0", "physical id\t: 1").replace("core id\t\t: 1", "core id\t\t: 0")
    assert parse_cpuinfo(f"{first}\n\n{second}").cores_physical == 2


def test_an_arm_cpu_has_features_and_no_core_numbers() -> None:
    cpu = parse_cpuinfo("processor\t: 0\nFeatures\t: fp asimd\n\nprocessor\t: 1\nFeatures\t: fp asimd\n")
    assert cpu.flags == ("asimd", "fp")
    assert (cpu.model, cpu.cores_physical, cpu.cores_logical) == (None, None, 2)


def test_meminfo_is_in_bytes_and_counts_are_left_out() -> None:
    memory = parse_meminfo(MEMINFO)
    assert memory["MemTotal"] == 16222160 * 1024
    assert "HugePages_Total" not in memory


def test_swaps_are_read_with_kind_size_use_and_escaped_names() -> None:
    assert parse_swaps(SWAPS) == (
        SwapDevice("/swapfile", "file", 134217724 * 1024, 12582912 * 1024, -2),
        SwapDevice("/dev/sda3", "partition", 1048572 * 1024, 0, 5),
        SwapDevice("/srv/my swap", "file", 1020 * 1024, 4 * 1024, -3),
    )


@pytest.mark.parametrize("text", ["", "Filename Type Size Used Priority\n", "x\nnonsense\n/swap file big 0 -2\n"])
def test_odd_swaps_are_no_swaps(text: str) -> None:
    assert parse_swaps(text) == ()


@pytest.mark.parametrize(
    ("path", "point"),
    [
        ("/var/lib/x", "/var/lib"),
        ("/var/library", "/"),
        ("/srv/my disk/a", "/srv/my disk"),
        ("/proc/1", "/proc"),
    ],
)
def test_the_longest_mount_point_wins_by_whole_names(path: str, point: str) -> None:
    mount = mount_of(Path(path), parse_mountinfo(MOUNTINFO))
    assert mount is not None
    assert mount.point == Path(point)


def test_of_two_mounts_at_one_point_the_later_hides_the_earlier() -> None:
    mount = mount_of(Path("/tmp/x"), parse_mountinfo(MOUNTINFO + "50 40 8:9 / /tmp rw - ext4 /dev/sdz9 rw\n"))
    assert mount is not None
    assert mount.source == "/dev/sdz9"


@pytest.mark.parametrize(
    ("directory", "existing", "device", "filesystem", "rotational"),
    [
        ("/home/rig/models", "/home", "/dev/sda2", "ext4", True),
        ("/srv/my disk/models/big", "/srv/my disk/models", "/dev/nvme0n1p2", "xfs", False),
        ("/var/lib/rigappliance", "/var/lib", "/dev/mapper/vg-lib", "ext4", True),
        ("/data", "/data", "/dev/sdb1", "btrfs", True),
        ("/remote/m", "/remote", "store:/export", "nfs4", None),
        ("/tmp/m", "/tmp", "tmpfs", "tmpfs", None),
    ],
    ids=["partition", "nvme", "mapped", "btrfs", "network", "memory"],
)
def test_the_disk_below_a_directory(
    rig: Path, directory: str, existing: str, device: str, filesystem: str, rotational: bool | None
) -> None:
    disk = read_host_facts(Path(directory), rig).disk
    assert disk.existing == Path(existing)
    assert (disk.device, disk.filesystem, disk.rotational) == (device, filesystem, rotational)
    assert disk.total_bytes
    assert disk.free_bytes is not None
    assert disk.free_bytes <= disk.total_bytes


def test_the_recorded_rig_as_a_whole(rig: Path) -> None:
    host = read_host_facts(Path("/home"), rig)
    assert (host.hostname, host.kernel) == ("rig", "6.12.58")
    assert host.ram_total_bytes == 16222160 * 1024
    assert host.ram_available_bytes == 12843012 * 1024
    assert host.swap_total_bytes == (134217724 + 1048572 + 1020) * 1024
    assert host.swap_used_bytes == (12582912 + 4) * 1024


def test_a_machine_that_tells_nothing_gives_unknowns(tmp_path: Path) -> None:
    host = read_host_facts(Path("/var/lib/x"), tmp_path)
    assert (host.hostname, host.kernel, host.ram_total_bytes) == (None, None, None)
    assert (host.swap_devices, host.swap_total_bytes, host.swap_used_bytes) == (None, None, None)
    assert (host.cpu.model, host.cpu.cores_logical, host.cpu.flags) == (None, None, ())
    assert (host.disk.mount_point, host.disk.rotational) == (None, None)
    assert host.disk.existing == Path("/")


def test_no_swap_is_zero_and_not_unknown(rig: Path) -> None:
    write(rig / "proc/swaps", SWAPS.splitlines()[0] + "\n")
    host = read_host_facts(Path("/home"), rig)
    assert (host.swap_devices, host.swap_total_bytes) == ((), 0)


def test_a_file_in_the_way_still_has_a_nearest_parent(tmp_path: Path) -> None:
    write(tmp_path / "file", "")
    assert nearest_existing(tmp_path / "file/below") == tmp_path / "file"


def test_this_machine_answers(tmp_path: Path) -> None:
    host = read_host_facts(tmp_path / "not/there")
    assert host.cpu.cores_logical
    assert host.ram_total_bytes
    assert host.disk.existing == tmp_path.resolve()
    assert host.disk.mount_point is not None

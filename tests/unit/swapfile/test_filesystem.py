"""Which file systems hold a swap file, by the mount table alone."""

from __future__ import annotations

import pytest

from rigappliance.errors import PreflightError
from rigappliance.facts.host import Mount
from rigappliance.swapfile import btrfs, filesystem
from rigappliance.swapfile.filesystem import Way, way_to_make
from tests.unit.swapfile.host import Host

REFUSED = [
    ("zfs", "does not write in place"),
    ("bcachefs", "does not write in place"),
    ("nilfs2", "does not write in place"),
    ("tmpfs", "lives in memory itself"),
    ("ramfs", "lives in memory itself"),
    ("overlay", "the file systems below it"),
    ("nfs", "over the network"),
    ("nfs4", "over the network"),
    ("cifs", "over the network"),
    ("smb3", "over the network"),
    ("9p", "over the network"),
    ("virtiofs", "over the network"),
    ("fuse", "a process serves it"),
    ("fuseblk", "a process serves it"),
    ("fuse.sshfs", "a process serves it"),
    ("squashfs", "read-only"),
    ("erofs", "read-only"),
    ("iso9660", "read-only"),
    ("vfat", "others could read the memory"),
    ("exfat", "others could read the memory"),
    ("ntfs3", "others could read the memory"),
    ("nextfs", "not known to work"),
]


@pytest.mark.parametrize(("kind", "reason"), REFUSED)
def test_refused_with_the_reason_and_nothing_made(host: Host, kind: str, reason: str) -> None:
    host.mount(kind)
    with pytest.raises(PreflightError) as caught:
        host.on()
    assert caught.value.found.startswith(f"{host.file} lies on {kind} (mounted at {host.directory}): ")
    assert reason in caught.value.found
    assert "ext4, xfs, btrfs" in caught.value.expected
    assert "memory.swap_file" in caught.value.remedy
    assert list(host.directory.iterdir()) == []
    assert host.programs() == []


def test_no_file_system_is_in_both_tables() -> None:
    assert filesystem.WAYS.keys().isdisjoint(filesystem.REFUSALS)


@pytest.mark.parametrize(
    ("kind", "way"),
    [
        ("ext4", Way.PREALLOCATED),
        ("xfs", Way.PREALLOCATED),
        ("btrfs", Way.PREALLOCATED),
        ("ext3", Way.WRITTEN),
        ("ext2", Way.WRITTEN),
        ("jfs", Way.WRITTEN),
        ("f2fs", Way.WRITTEN),
    ],
)
def test_each_has_its_way(host: Host, kind: str, way: Way) -> None:
    host.mount(kind)
    assert way_to_make(host.file, host.machine)[1] is way


def test_the_mount_nearest_to_the_file_counts(host: Host) -> None:
    table = host.root / "proc/self/mountinfo"
    table.write_text(table.read_text() + f"41 40 0:9 / {host.file}stead rw - tmpfs tmpfs rw\n")
    assert way_to_make(host.file, host.machine)[0].filesystem == "ext4"
    table.write_text(table.read_text() + f"42 40 0:9 / {host.directory} rw - tmpfs tmpfs rw\n")
    with pytest.raises(PreflightError, match="lies on tmpfs"):
        way_to_make(host.file, host.machine)


def test_without_a_mount_table_nothing_is_made(host: Host) -> None:
    (host.root / "proc/self/mountinfo").unlink()
    with pytest.raises(PreflightError, match="is unknown"):
        host.on()
    assert list(host.directory.iterdir()) == []


# --- btrfs -----------------------------------------------------------------


def btrfs_of(host: Host, *profiles: str) -> Mount:
    """/sys as the kernel shows a mounted btrfs, with these profiles of data, and with another btrfs beside it."""
    for name, device, kinds in (("1111", "sda1", profiles), ("2222", "sdb1", ("single",))):
        (host.root / f"sys/fs/btrfs/{name}/devices").mkdir(parents=True)
        (host.root / f"sys/fs/btrfs/{name}/devices/{device}").touch()
        for kind in kinds:
            (host.root / f"sys/fs/btrfs/{name}/allocation/data/{kind}").mkdir(parents=True)
        (host.root / f"sys/fs/btrfs/{name}/allocation/data").mkdir(parents=True, exist_ok=True)
        (host.root / f"sys/fs/btrfs/{name}/allocation/data/flags").write_text("1\n")
    (host.root / "sys/fs/btrfs/features").mkdir()
    return Mount(host.directory, "0:39", "btrfs", "/dev/sda1")


@pytest.mark.parametrize("profile", ["raid0", "raid1", "dup"])
def test_btrfs_that_keeps_data_more_than_once_is_refused(host: Host, profile: str) -> None:
    btrfs_of(host, profile)
    host.mount("btrfs")
    with pytest.raises(PreflightError, match=f"keeps its data as {profile}"):
        host.on()
    assert list(host.directory.iterdir()) == []


@pytest.mark.parametrize("profiles", [("single",), ("raid1", "single"), ()])
def test_btrfs_that_can_or_does_not_tell_is_left_to_swapon(host: Host, profiles: tuple[str, ...]) -> None:
    mount = btrfs_of(host, *profiles)
    btrfs.check_profile(mount, host.root)
    assert btrfs.data_profiles(mount, host.root) == frozenset(profiles)


def test_the_device_below_a_mapped_name_is_found(host: Host) -> None:
    btrfs_of(host, "raid1")
    (host.root / "dev/mapper").mkdir(parents=True)
    (host.root / "dev/mapper/pool").symlink_to("../sda1")
    mount = Mount(host.directory, "0:39", "btrfs", "/dev/mapper/pool")
    assert btrfs.data_profiles(mount, host.root) == {"raid1"}

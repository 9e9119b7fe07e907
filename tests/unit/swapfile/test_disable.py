"""Off: disabled, kept unless asked otherwise, and never somebody's file removed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rigappliance.errors import PreflightError
from rigappliance.swapfile.area import SIGNATURE
from tests.unit.swapfile.host import MIB, Host, untouched


def test_disabled_and_kept(host: Host) -> None:
    host.on()
    host.log.write_text("")
    with untouched(host.file):
        assert host.off() == f"{host.file} is disabled"
    assert host.programs() == ["swapoff rig.swap"]
    assert host.active() == []


def test_not_active_is_no_failure(host: Host) -> None:
    assert host.off() == f"{host.file} was not active"
    assert host.programs() == []


def test_deleted_with_the_unfinished_one(host: Host) -> None:
    host.on()
    host.partial.write_bytes(bytes(MIB))
    assert host.off(delete=True) == f"{host.file} is disabled; removed rig.swap and rig.swap.partial"
    assert list(host.directory.iterdir()) == []
    assert host.off(delete=True) == f"{host.file} was not active; there was nothing to remove"


def test_the_unfinished_one_alone(host: Host) -> None:
    host.partial.write_bytes(bytes(MIB))
    assert host.off(delete=True) == f"{host.file} was not active; removed rig.swap.partial"
    assert list(host.directory.iterdir()) == []


def test_a_swap_file_that_is_no_good_any_more_can_go(host: Host) -> None:
    host.on()
    host.reboot()
    os.truncate(host.file, MIB)
    host.off(delete=True)
    assert list(host.directory.iterdir()) == []


def test_somebodys_data_stays(host: Host) -> None:
    host.file.write_bytes(os.urandom(MIB))
    host.partial.write_bytes(bytes(MIB))
    with untouched(host.file), pytest.raises(PreflightError, match="is no swap area: it was not removed"):
        host.off(delete=True)
    assert host.partial.exists()


def test_somebodys_partial_keeps_the_good_one_too(host: Host) -> None:
    host.on()
    host.partial.write_text("data")
    with pytest.raises(PreflightError, match="no unfinished swap file"):
        host.off(delete=True)
    assert (host.file.exists(), host.partial.read_text()) == (True, "data")


def test_a_link_stays(host: Host) -> None:
    target = host.root / "target"
    target.write_bytes(bytes(4086) + SIGNATURE)
    host.file.symlink_to(target)
    with pytest.raises(PreflightError, match="symbolic link"):
        host.off(delete=True)
    assert host.file.is_symlink()
    assert target.exists()


def active(path: Path, used_kib: int, *others: str) -> str:
    lines = [f"{path} file 100000000 {used_kib} 10", *others]
    return "\n".join(["Filename Type Size Used Priority", *lines]) + "\n"


def test_more_than_fits_the_ram_is_refused(host: Host) -> None:
    host.on()
    host.log.write_text("")
    host.swaps.write_text(active(host.file, 8_000_001))
    with pytest.raises(PreflightError) as caught:
        host.off()
    assert caught.value.found.startswith(f"7.6 GiB are swapped out to {host.file}, and 7.6 GiB of RAM")
    assert "systemctl stop rigappliance" in caught.value.remedy
    assert host.programs() == []


@pytest.mark.parametrize("others", [(), ("/dev/sdb1 partition 3000000 1000000 5",)])
def test_what_fits_is_read_back(host: Host, others: tuple[str, ...]) -> None:
    host.on()
    host.log.write_text("")
    host.swaps.write_text(active(host.file, 10_000_000 if others else 8_000_000, *others))
    host.off()
    assert host.programs() == ["swapoff rig.swap"]


def test_swapoff_is_quoted(host: Host) -> None:
    host.on()
    host.install("swapoff", '#!/bin/sh\necho "swapoff: $1: swapoff failed: Cannot allocate memory" >&2; exit 4\n')
    with pytest.raises(PreflightError) as caught:
        host.off(delete=True)
    assert caught.value.found == f"swapoff: {host.file}: swapoff failed: Cannot allocate memory"
    assert host.file.exists()

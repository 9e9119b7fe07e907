"""The kernel's log read from its beginning."""

from __future__ import annotations

from pathlib import Path

from rigappliance.facts.kernelmessages import KernelFaults, read_kernel_faults, read_kernel_messages

LOG = """6,1,0,-;Linux version 6.12.58
 SUBSYSTEM=pci
3,2,9,-;NVRM: Xid (PCI:0000:06:00): 79, GPU has fallen off the bus.
3,3,9,-;NVRM: Xid (PCI:0000:06:00): 31, pid=1, name=python, MMU fault
3,4,9,-;I/O error, dev sda, sector 8
"""


def test_faults_of_cards_and_disks_are_kept_apart_from_those_of_programs(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    # Longer than one read takes.
    (tmp_path / "dev/kmsg").write_text("6,9,9,-;nothing of note\n" * 1000 + LOG)
    faults = read_kernel_faults(tmp_path)
    assert faults == KernelFaults(
        ("NVRM: Xid (PCI:0000:06:00): 79, GPU has fallen off the bus.",), ("I/O error, dev sda, sector 8",)
    )


def test_a_log_that_may_not_be_read_is_unknown(tmp_path: Path) -> None:
    assert read_kernel_faults(tmp_path) is None


def test_a_log_without_end_ends(tmp_path: Path) -> None:
    assert read_kernel_messages(Path("/dev/null")) == ()
    endless = read_kernel_messages(Path("/dev/zero"))
    assert endless == ()

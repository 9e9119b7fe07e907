"""Limits of a process and of the unit, as their files say them."""

from __future__ import annotations

from pathlib import Path

from rigappliance.facts.limits import Limit, read_limit_facts
from tests.unit.facts.test_kernel import write

LIMITS = """Limit                     Soft Limit           Hard Limit           Units
Max open files            1024                 524288               files
Max locked memory         8388608              unlimited            bytes
"""
UNIT = "etc/systemd/system/rigappliance.service"


def test_own_limits_with_and_without_a_number(tmp_path: Path) -> None:
    facts = read_limit_facts(write(tmp_path, {"proc/self/limits": LIMITS}))
    assert (facts.nofile, facts.memlock, facts.unit) == (Limit(1024, 524288), Limit(8388608, None), None)


def test_a_drop_in_goes_over_the_unit_and_the_last_name_wins(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            UNIT: "[Service]\nLimitNOFILE=65536\nMemoryMax = 90%\nExecStart=/bin/true\n",
            f"{UNIT}.d/20-b.conf": "[Service]\nLimitNOFILE=2048\n",
            f"{UNIT}.d/10-a.conf": "[Service]\nLimitNOFILE=1024\nLimitMEMLOCK=1M\n",
            "etc/systemd/system.control/rigappliance.service.d/50-MemoryMax.conf": "[Service]\nMemoryMax=4G\n",
        },
    )
    assert read_limit_facts(root).unit == {"LimitNOFILE": "2048", "MemoryMax": "4G", "LimitMEMLOCK": "1M"}


def test_an_administrators_drop_in_hides_the_packages_of_the_same_name(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "usr/lib/systemd/system/rigappliance.service": "[Service]\n",
            "usr/lib/systemd/system/rigappliance.service.d/a.conf": "[Service]\nLimitNOFILE=1\n",
            f"{UNIT}.d/a.conf": "[Service]\nLimitMEMLOCK=2\n",
        },
    )
    assert read_limit_facts(root).unit == {"LimitMEMLOCK": "2"}


def test_this_machine_answers() -> None:
    facts = read_limit_facts()
    assert facts.nofile
    assert facts.memlock

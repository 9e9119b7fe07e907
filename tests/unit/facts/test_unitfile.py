"""Variables that a unit gives to the service, in systemd's syntax."""

from __future__ import annotations

from pathlib import Path

from rigappliance.facts.unitfile import UNIT, unit_environment, unit_settings
from tests.unit.facts.test_kernel import write

PLACE = f"etc/systemd/system/{UNIT}"


def test_quoted_assignments_several_on_a_line_and_percent_signs(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            PLACE: '[Service]\nEnvironment="CC=/nix/store/x/bin/gcc" "PATH=/a:/b c"\nEnvironment=SHARE=90%%\n'
            "Environment=KEY=%d/api-key\nEnvironmentFile=/x\n",
            f"{PLACE}.d/a.conf": "[Service]\nEnvironment=CC=/usr/bin/clang\nEnvironment='open\n",
        },
    )
    assert unit_environment(root) == {"CC": "/usr/bin/clang", "PATH": "/a:/b c", "SHARE": "90%"}


def test_an_empty_assignment_takes_all_back(tmp_path: Path) -> None:
    root = write(tmp_path, {PLACE: "[Service]\nEnvironment=A=1\nEnvironment=\nEnvironment=B=2\n"})
    assert unit_environment(root) == {"B": "2"}


def test_without_a_unit_there_is_nothing(tmp_path: Path) -> None:
    assert unit_settings(tmp_path) is None
    assert unit_environment(tmp_path) == {}

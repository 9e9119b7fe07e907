from __future__ import annotations

import re
import shutil
import subprocess

import pytest


@pytest.fixture(scope="session")
def systemd_analyze() -> str:
    program = shutil.which("systemd-analyze")
    assert program, "systemd-analyze is needed; tools/packages installs it"
    return program


@pytest.fixture(scope="session")
def systemd(systemd_analyze: str) -> int:
    """The version of systemd that reads the units here."""
    text = subprocess.run([systemd_analyze, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.match(r"systemd (\d+)", text)
    assert found is not None
    return int(found[1])

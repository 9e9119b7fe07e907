"""The measured numbers of a rig: its own where `rigappliance calibrate` took them, else those of this version."""

from __future__ import annotations

from pathlib import Path

from rigappliance.plan.coefficients import Coefficients, read_coefficients, shipped

FILE = "calibration.toml"


def numbers_for(state_dir: Path) -> Coefficients:
    """Raises ``ConfigError`` for a calibration that makes no sense."""
    own = state_dir / FILE
    try:
        present = own.is_file()
    except OSError:
        present = False
    return read_coefficients(own).before(shipped()) if present else shipped()

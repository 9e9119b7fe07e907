"""Debian's Python 3.13 keeps counts as `rigappliance.enginestart.immortal` expects, and forked processes share."""

from __future__ import annotations

import shlex

from rigappliance.vmtest import Machine, Origin
from rigappliance.vmtest.image import CONTROL_DIRECTORY
from tests.unit.enginestart.test_immortal import SCRIPT

OBJECTS = 50_000


def test_a_child_that_uses_everything_shares_it_still(control_guest: Origin) -> None:
    with Machine(control_guest) as machine:
        own = {}
        for how in ("mortal", "immortal"):
            command = [f"{CONTROL_DIRECTORY}/bin/python", "-c", SCRIPT, how, str(OBJECTS)]
            made, own[how] = map(int, machine.succeed(shlex.join(command), timeout=120).split())
            assert (made > 3 * OBJECTS) == (how == "immortal")
        assert own["mortal"] > 3000 and own["immortal"] < own["mortal"] / 20, own

"""Real machines for tests: a Debian guest under QEMU that answers to the machine API of NixOS's test driver.

from rigappliance.vmtest import Machine, booted

with Machine(booted()) as machine:
    machine.succeed("systemctl is-system-running")
"""

from rigappliance.vmtest.control import control_recipe, with_control
from rigappliance.vmtest.image import Recipe
from rigappliance.vmtest.machine import Machine
from rigappliance.vmtest.origin import Origin
from rigappliance.vmtest.qemu import Hardware
from rigappliance.vmtest.saved import advanced, booted

__all__ = ["Hardware", "Machine", "Origin", "Recipe", "advanced", "booted", "control_recipe", "with_control"]

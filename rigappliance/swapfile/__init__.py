"""The swap file that the configuration declares: made, enabled, disabled and shown.

    FILE             a whole swap area, root's and with mode 0600, or nothing
    FILE.partial     one that is being made

A swap file is made under the second name and gets the first when all of it is on
the disk. Whatever ends the making, a power cut too, leaves a ``.partial`` to go on
from or a good file, and never a half one that the next boot would enable.
"""

from __future__ import annotations

from rigappliance.swapfile.declared import Declared, declared_swap
from rigappliance.swapfile.disable import disable
from rigappliance.swapfile.enable import enable
from rigappliance.swapfile.machine import Machine, Output
from rigappliance.swapfile.report import Report, report
from rigappliance.swapfile.stop import stoppable

__all__ = ["Declared", "Machine", "Output", "Report", "declared_swap", "disable", "enable", "report", "stoppable"]

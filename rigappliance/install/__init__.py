"""``rigappliance install`` and ``uninstall``: the units and what belongs to them, on a host without NixOS.

What would be done is worked out first, as a tuple of steps; a dry run shows them,
the real thing carries them out in that order. A manifest is written before the
first file and taken away after the last, so that whatever interrupts either of
the two can be repeated or undone.
"""

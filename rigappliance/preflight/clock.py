"""Is it the time that the clock says?"""

from __future__ import annotations

import time

from rigappliance.facts.clock import ClockFacts
from rigappliance.preflight.finding import Finding, ok, warn

# The year of the first release: no machine ran this program before.
FIRST_YEAR = 2026
# A clock this far ahead is more likely wrong than this release still in use.
YEARS_AHEAD = 2
REMEDY = "run `timedatectl set-ntp true` as root, and see `timedatectl`; a board that forgets the time needs a battery"


def check_clock(clock: ClockFacts) -> Finding:
    """A wrong clock breaks certificates, the times in logs, and the record of earlier starts."""
    now = time.gmtime(clock.now)
    written = time.strftime("%Y-%m-%d %H:%M UTC", now)
    if not FIRST_YEAR <= now.tm_year <= FIRST_YEAR + YEARS_AHEAD:
        expected = f"a year from {FIRST_YEAR} to {FIRST_YEAR + YEARS_AHEAD}"
        return warn("clock.time", f"the clock says {written}", expected, REMEDY)
    if clock.synchronised is False:
        return warn("clock.time", f"{written}, and nothing synchronises the clock", "a clock kept by NTP", REMEDY)
    return ok("clock.time", written + (", synchronised" if clock.synchronised else ""))

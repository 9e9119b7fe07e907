"""What is used after a fork stays shared, where this Python can."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rigappliance.enginestart.immortal import VERSIONS, is_possible

ROOT = Path(__file__).resolve().parents[3]
# Small objects, 60 MB of 300,000; what a child gets of its own by using each of them once. Code counts as well.
SCRIPT = """
import gc, os, sys
from rigappliance.enginestart import immortal
data = [(str(i) * 4, float(i), [i]) for i in range(int(sys.argv[2]))]
code = compile("def f():\\n return 'one', 2.5, (3, 'four')", "file", "exec")
if sys.argv[1] == "immortal":
    print(immortal.make_all())
    assert all(sys.getrefcount(each) >= immortal.COUNT for each in (data, data[7], data[7][0], data[7][2], code))
    assert all(sys.getrefcount(each) >= immortal.COUNT for each in (code.co_consts[0], code.co_consts[0].co_consts))
else:
    print(0)
gc.freeze()
def dirty():
    lines = open("/proc/self/smaps_rollup").read().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty"))
sys.stdout.flush()
if os.fork() == 0:
    before, total = dirty(), 0
    for text, number, some in data:
        total += len(text)
    print(dirty() - before)
    sys.stdout.flush()
    os._exit(0)
os.wait()
new = [str(i) for i in range(1000)]
del new
assert gc.collect() >= 0
"""


def used(how: str) -> tuple[int, int]:
    """Objects made immortal, and KiB that became the child's own."""
    done = subprocess.run([sys.executable, "-c", SCRIPT, how, "300000"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    made, own = done.stdout.split()
    return int(made), int(own)


@pytest.mark.skipif(not is_possible(), reason="this Python writes every count, or keeps it in another way")
def test_a_child_that_uses_everything_shares_it_still() -> None:
    _, own = used("mortal")
    made, own_of_immortal = used("immortal")
    assert made > 900_000
    assert own > 20_000 and own_of_immortal < own / 20, (own, own_of_immortal)


def test_it_is_done_where_counts_are_as_expected_and_nowhere_else() -> None:
    if sys.version_info[:2] in VERSIONS and sys.maxsize > 1 << 32:
        assert is_possible()
    else:
        assert not is_possible()

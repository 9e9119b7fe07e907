# The swap file is made at the first boot, found again after a power cut, and never made twice.

FILE = "/var/lib/rigappliance.swap"
UNIT = "rigappliance-swap.service"
SIZE_BYTES = 256 * 1024 * 1024
# The first page of a swap area holds its header.
SIZE_KIB = SIZE_BYTES // 1024 - 4


def areas():
    """Name, type, size, used and priority of each active area."""
    lines = machine.succeed("cat /proc/swaps").splitlines()[1:]
    return {line.split()[0]: line.split() for line in lines}


def identity():
    """What a file that was made anew would not keep."""
    return machine.succeed(f"stat --format='%i %Y %s %b' {FILE}").strip()


machine.start()
machine.wait_for_unit(UNIT, timeout=900)

assert areas()[FILE][2] == str(SIZE_KIB), areas()
assert areas()[FILE][4] == "7", areas()
owner = machine.succeed(f"stat --format='%a %U %G' {FILE}").strip()
assert owner == "600 root root", owner
assert machine.succeed("cat /proc/sys/vm/swappiness /proc/sys/vm/page-cluster").split() == ["13", "5"]

# No boot waits for it.
after = machine.succeed("systemctl show --property=After --value multi-user.target").split()
assert UNIT not in after, after

# Off and on by hand: the same file.
first = identity()
machine.succeed(f"systemctl stop {UNIT}")
assert FILE not in areas(), areas()
assert identity() == first, identity()
machine.succeed(f"systemctl start {UNIT}")
assert FILE in areas(), areas()
assert identity() == first, identity()

machine.crash()
machine.start()
machine.wait_for_unit(UNIT, timeout=900)
assert FILE in areas(), areas()
assert identity() == first, identity()
machine.fail(f"test -e {FILE}.partial")

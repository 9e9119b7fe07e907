# The swap file is half made when the disk fills, the power goes, or the machine is rebooted: made whole afterwards.

SWAP = "rigappliance-swap.service"
FILE = "/slow/rig.swap"
PARTIAL = f"{FILE}.partial"
# The file system has no preallocation, so that the file takes its time.
HALF = f"until [ $(stat --format=%s {PARTIAL} 2>/dev/null || echo 0) -gt 20000000 ]; do sleep 0.1; done"

machine.start()
machine.succeed(HALF, timeout=300)
# What preflight saw as free is gone now.
inject("dd if=/dev/zero of=/slow/of-another bs=4M status=none 2>/dev/null || true")
machine.succeed(f"until [ $(systemctl show -P ActiveState {SWAP}) = failed ]; do sleep 0.2; done", timeout=300)
said = journal(SWAP)
words = next(line for line in reversed(said.splitlines()) if "No space left" in line or "full" in line)
machine.fail(f"test -e {FILE}")
# Whole steps of it stay, to go on from; others get back what the unfinished one took.
machine.fail(HALF.replace("until ", "").replace("; do sleep 0.1; done", ""))
row("disk full while the swap file is made", "refused: disk full", words, "stopped", seconds=since_fault())

machine.succeed(f"rm /slow/of-another; systemctl reset-failed {SWAP}; systemctl start --no-block {SWAP}")
machine.succeed(HALF, timeout=300)
machine.crash()
machine.start()
# The next boot begins anew: what was half made is known by its name.
machine.succeed(HALF, timeout=600)
row("power cut while the swap file is made", "none", f"{PARTIAL} was made anew", "restarted")

machine.shutdown()
machine.start()
machine.wait_for_unit(SWAP, timeout=900)
assert FILE in machine.succeed("cat /proc/swaps")
machine.fail(f"test -e {PARTIAL}")
row("reboot with a half-made swap file", "none", machine.succeed("tail -n 1 /proc/swaps").strip(), "none needed")

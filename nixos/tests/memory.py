# The memory runs out in every way that the kernel knows, while loading and while serving; each is told apart.

MIB = 1024 * 1024
SWAP = "rigappliance-swap.service"
AREA = "/var/lib/rigappliance.swap"
# An engine that loads: its workers grow until something stops them.
GROWS = {"do": "grow", "at": "weights", "step_bytes": 16 * MIB, "every_s": 0.02}
GROWS_LATER = {**GROWS, "at": "serving"}


def limit(size: str, *more: str, force: bool = True) -> None:
    """Whatever the checks say of it: they count what the real engine needs, which is more than the stand-in takes."""
    adjust("")
    lines = "".join(f"{line}\n" for line in (f"MemoryMax={size}", *more))
    adjust(PATIENT + lines + (forced() if force else ""))


machine.start()
machine.wait_for_unit(SWAP)

# The limit is hit while swap is free: what it holds cannot be swapped (here, it may not be).
with case("MemoryMax hit while swap is free"):
    limit("300M", "MemorySwapMax=0")
    begin(weights_s=20, faults=[GROWS])
    found = named(
        "MemoryMax hit while loading, swap free", "memory-limit-loading", decision="stopped", evidence="oom_kill"
    )
    assert found["exit_code"] == int(show("ExecMainStatus")), show("ExecMainStatus")
    assert "memory limit" in show("StatusText"), show("StatusText")

    # The same start would end the same way, after another forty minutes of loading: it is not even begun.
    limit("300M", "MemorySwapMax=0", force=False)
    stays_stopped(found)

    # Mended: more memory, and it starts by itself, with the record of the failure kept.
    limit("1500M")
    starts_again()

# It grew later, as requests came.
with case("cgroup OOM while serving"):
    limit("300M", "MemorySwapMax=0")
    ready()
    tell(pace=0, faults=[GROWS_LATER])
    inject("true")
    found = named("cgroup OOM while serving", "memory-limit-serving", decision="restarted", evidence="oom_kill")
    assert found["ready"] is True, found

# The limit again, but only when all of the swap is full.
with case("cgroup OOM, swap full"):
    limit("300M")
    begin(weights_s=20, faults=[GROWS])
    named("cgroup OOM while loading, swap full", "swap-exhausted", decision="stopped", evidence="swap")

# The whole machine, made small by pages that nobody else can have.
with case("kernel OOM, swap full"):
    limit("infinity")
    free = int(machine.succeed("grep MemAvailable /proc/meminfo").split()[1]) // 1024
    machine.succeed(f"echo {(free - 450) // 2} >/proc/sys/vm/nr_hugepages")
    begin(weights_s=20, faults=[GROWS])
    named("kernel OOM while loading, swap full", "swap-exhausted", decision="stopped", evidence="swap")

# Somebody else is the hungry one, and the engine is whom the kernel takes.
with case("kernel OOM by another's doing"):
    # It grows for as long as the worker lives, so that nothing else of the machine has to go.
    hungry = (
        "import sys, time\n"
        "kept = []\n"
        "def state(): return open('/proc/%s/stat' % sys.argv[1]).read().rsplit(')', 1)[1].split()[0]\n"
        "while state() not in 'ZX': kept.append(b'x' * (4 << 20)); time.sleep(0.005)\n"
    )
    ready(take={"serving": 64 * MIB})
    inject(
        f"systemd-run --unit=hungry --property=OOMScoreAdjust=-900 python3 -c {shlex.quote(hungry)} {part('Worker')}"
    )
    named(
        "kernel OOM by another's doing, while serving",
        "machine-out-of-memory",
        decision="restarted",
        evidence="oom_kill",
    )
machine.succeed("systemctl stop hungry.service || true; echo 0 >/proc/sys/vm/nr_hugepages")

# swapoff brings back what was swapped, and the limit has no room for it.
with case("swapoff under load"):
    limit("220M")
    ready(take={"weights": 90 * MIB})
    machine.succeed("awk 'NR == 2 { exit $4 > 20000 ? 0 : 1 }' /proc/swaps")
    inject(f"swapoff {AREA} || true")
    named("swapoff under load", "memory-limit-serving", decision="restarted", evidence="oom_kill", but=("swap",))
    machine.succeed(f"swapon {AREA} || true")

# Room for it: nothing happens to the engine.
with case("swapoff with room"):
    limit("1500M")
    ready(take={"weights": 90 * MIB})
    machine.succeed(f"swapoff {AREA}; sleep 5; systemctl is-active {UNIT}")
    assert completes(), journal()[-3000:]
    machine.succeed(f"swapon {AREA}")
    clear()

# Shared memory that others have filled.
with case("/dev/shm full"):
    machine.succeed("fallocate --length $(df --output=avail -B1 /dev/shm | tail -n 1) /dev/shm/of-another")
    begin()
    wait_end()
    # It is nothing of the engine's that is left.
    machine.succeed("rm /dev/shm/of-another")
    named("/dev/shm full", "shared-memory-full", decision="stopped", evidence="/dev/shm|No space")
    clear()

done()

# The disk is full while caches are written, while it serves and its log grows, and while a failure is recorded.

STATE = "/srv/small/state"
CHECKPOINT = "/var/lib/rigappliance-checkpoint"
FILL = "fallocate --length $(df --output=avail -B1 /srv/small | tail -n 1) /srv/small/of-another"
FREE = "rm -f /srv/small/of-another"

machine.start()
# On a file system that came after the appliance.
machine.succeed(f"install --directory --mode=750 --owner=rigappliance --group=rigappliance {STATE}")
adjust(PATIENT)

# Caches: torch.compile and Triton write theirs when the weights are loaded already.
with case("disk full while caches are written"):
    begin(faults=[{"do": "wait", "at": "weights", "for_s": 3}])
    wait_phase("weights")
    inject(FILL)
    found = named("disk full while caches are written", "disk-full", decision="stopped", evidence="No space left")
    stays_stopped(found)
    machine.succeed(FREE)
    starts_again()

machine.succeed(FREE)

# While it serves: the engine needs no disk, its log is cut short, and the state file stays whole.
with case("disk full while serving"):
    ready()
    pid = show("MainPID")
    machine.succeed(FILL)
    tell(pace=0, faults=[{"do": "line", "bytes": 200_000}])
    machine.sleep(5)
    assert (show("ActiveState"), show("MainPID")) == ("active", pid), journal()[-3000:]
    assert completes(), journal()[-3000:]
    machine.succeed(f"python3 -m json.tool {STATE}/state.json >/dev/null")
    row("disk full while serving", "none", show("StatusText"), "none needed")
    # It fails now, with nowhere to write: the cause is kept all the same.
    inject(f"kill -KILL {part('Worker')}")
    named("a worker is killed while the disk is full", "part-killed", decision="restarted", evidence="SIGKILL|-9")
    machine.succeed(FREE)
    clear()

machine.succeed(FREE)
done()

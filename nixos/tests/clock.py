# The clock jumps by hours, both ways, during a start and while it serves: nothing is called hung, late or dead.

machine.start()
adjust(PATIENT + impatient())

begin(weights_s=12)
wait_phase("weights")
machine.succeed("date --set='+5 hours' >/dev/null; sleep 4; date --set='-9 hours' >/dev/null")
wait_ready()
state = json.loads(machine.succeed(f"cat {STATE}/state.json"))
estimates = json.loads(machine.succeed(f"tail -n 1 {STATE}/history.jsonl"))
durations = [seconds for name, seconds in estimates["durations_s"].items()]
assert all(0 <= seconds < 300 for seconds in durations), estimates
shown = machine.succeed(f"rigappliance status -c {CONFIG}")
assert "ready" in shown and "-" not in re.findall(r"after (\S+)", shown), shown
row("the clock jumps by +5 and -9 hours during a start", "none", shown.splitlines()[0], "none needed")

pid = show("MainPID")
machine.succeed("date --set='+7 hours' >/dev/null; sleep 8; date --set='-3 hours' >/dev/null; sleep 8")
assert (show("ActiveState"), show("MainPID"), show("NRestarts")) == ("active", pid, "0"), journal()[-3000:]
assert completes(), journal()[-3000:]
assert not lost(kept), lost(kept)
row("the clock jumps by +7 and -3 hours while serving", "none", show("StatusText"), "none needed")

# A real failure in the middle of it keeps its cause, and a record in which the start came before the end.
with case("a worker is killed after a jump back"):
    machine.succeed("date --set='-5 hours' >/dev/null")
    inject(f"kill -KILL {part('Worker')}")
    named("a worker is killed after a jump back", "part-killed", decision="restarted", evidence="SIGKILL|-9")

done()

# The power goes while it serves, and again and again while it loads and writes its state; each boot serves again.

machine.start()
wait_up = f"until [ $(systemctl show -P ActiveState {UNIT}) = active ]; do sleep 0.5; done"
machine.succeed(wait_up, timeout=300)
machine.succeed(f"sync {TOLD} || true")
kept.update(keepsakes())
assert len(kept["history"]) == 1, kept["history"]
boot = machine.succeed("cat /proc/sys/kernel/random/boot_id")

machine.crash()
machine.start()
machine.succeed(wait_up, timeout=600)
assert machine.succeed("cat /proc/sys/kernel/random/boot_id") != boot
assert completes(), journal()[-3000:]
found = why()
report = f"{json.dumps(found, indent=1)}\n{journal()[-4000:]}"
assert (found["cause"], found["ready"]) == ("power-cut", True), report
assert not lost(kept), f"{lost(kept)}\n{report}"
row("power cut while serving", "power-cut", found["evidence"][0]["text"], "restarted")

# A start writes its state with each phase and each step of the loading.
for phase in ("config", "weights"):
    clear()
    tell(pace=0.2, weights_s=4)
    machine.succeed(f"sync {TOLD}")
    kept.update(keepsakes())
    machine.succeed(f"systemctl start --no-block {UNIT}")
    wait_phase(phase)
    machine.crash()
    machine.start()
    machine.succeed(wait_up, timeout=600)
    found = why()
    report = f"{json.dumps(found, indent=1)}\n{journal()[-4000:]}"
    assert (found["cause"], found["ready"]) == ("power-cut", False), report
    assert not lost(kept), f"{lost(kept)}\n{report}"
    row(f"power cut while state is written ({phase})", "power-cut", found["evidence"][0]["text"], "restarted")

clear()
assert not leftovers(), leftovers()

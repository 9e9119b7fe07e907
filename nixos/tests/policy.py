# What follows from a cause: retries with growing pauses and an end, compaction first, and no start that must fail.

FAILS = "torch.distributed.DistBackendError: Watchdog caught collective operation timeout: WorkNCCL(SeqNum=3)"

machine.start()
# As the unit is, with pauses of seconds.
adjust("[Service]\nRestartSec=1s\nRestartMaxDelaySec=8s\n")

# A cause that may pass: tried again, longer and longer apart, and given up in the end.
with case("given up, weights loaded"):
    begin(faults=[{"do": "fail", "at": "KV cache", "text": FAILS}])
    machine.succeed(f"until [ $(systemctl show -P ActiveState {UNIT}) = failed ]; do sleep 0.3; done", timeout=300)
    found = why()
    report = f"{json.dumps(found, indent=1)}\n{journal()[-6000:]}"
    assert found["cause"] == "ranks-timed-out", report
    # Two starts that loaded the weights, then no more.
    assert (show("NRestarts"), show("ExecMainStatus")) == ("1", "13"), f"{show('NRestarts')}\n{report}"
    assert not lost(kept), lost(kept)
    assert not leftovers(), leftovers()
    row("the same transient cause twice, weights loaded", found["cause"], found["evidence"][0]["text"], "stopped")

    # Whoever starts it again by hand gets a start.
    starts_again()
    clear()

# What fails before the weights costs little: tried more often.
with case("given up, nothing loaded"):
    begin(faults=[{"do": "fail", "at": "workers", "text": FAILS}])
    machine.succeed(f"until [ $(systemctl show -P ActiveState {UNIT}) = failed ]; do sleep 0.3; done", timeout=400)
    assert (show("NRestarts"), show("ExecMainStatus")) == ("4", "13"), f"{show('NRestarts')}\n{journal()[-6000:]}"
    row("the same transient cause five times, nothing loaded", why()["cause"], FAILS, "stopped")
    clear()

# Memory in too small pieces: compacted by root before the next start, which then serves.
with case("memory fragmented"):
    # No machine fragments at will: the supervisor is shown one without a free block above order 2.
    blocks = "Node 0, zone   Normal " + " ".join(["9000"] * 3 + ["0"] * 8)
    machine.succeed(f"echo '{blocks}' >/run/buddyinfo")
    adjust("[Service]\nRestartSec=1s\nBindReadOnlyPaths=/run/buddyinfo:/proc/buddyinfo\n")
    count = "awk '/^compact_(success|migrate_scanned)/ { sum += $2 } END { print sum }' /proc/vmstat"
    before = int(machine.succeed(count))
    fragmented = "triton.compiler.errors.CompilationError: at 9:11: cannot allocate memory"
    begin(faults=[{"do": "fail", "at": "compile", "text": fragmented}])
    machine.succeed(f"until [ -e {STATE}/compact ]; do sleep 0.1; done", timeout=120)
    tell(pace=0)
    machine.succeed(f"until [ $(systemctl show -P NRestarts {UNIT}) = 1 ]; do sleep 0.3; done", timeout=120)
    wait_ready()
    machine.fail(f"test -e {STATE}/compact")
    assert int(machine.succeed(count)) > before, "nothing was compacted"
    assert completes(), journal()[-3000:]
    row("memory fragmented", "memory-fragmented", fragmented, "restarted, after compaction")
    clear()

done()

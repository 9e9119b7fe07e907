# A stop in each phase of a start ends it in order: no failure is recorded, and nothing of it is left.

# Those of the recorded start, which is the CPU build's: it captures no graphs.
PHASES = ("process start", "config", "workers", "weights", "compile", "profiling", "KV cache", "HTTP")

machine.start()
adjust(PATIENT)
for phase in (*PHASES, "ready"):
    with case(f"stop during {phase}"):
        begin(faults=[{"do": "wait", "at": phase, "for_s": 60}])
        if phase == "ready":
            wait_ready()
        else:
            wait_phase(phase)
        began = float(machine.succeed("date +%s.%N"))
        machine.succeed(f"systemctl stop {UNIT}", timeout=60)
        seconds = float(machine.succeed("date +%s.%N")) - began
        report = f"{phase}\n{journal()[-3000:]}"
        assert (show("ActiveState"), show("Result")) == ("inactive", "success"), report
        assert not leftovers(), f"{leftovers()}\n{report}"
        assert not lost(kept), f"{lost(kept)}\n{report}"
        found = why()
        assert found["cause"] in (None, "stopped"), f"{found}\n{report}"
        state = json.loads(machine.succeed(f"cat {STATE}/state.json"))
        assert state["ended"] is not None, state
        row(f"stopped during {phase}", "stopped", state["message"], "none needed", seconds=round(seconds, 1))

done()

# Parts of the service are killed, while it loads and while it serves: each end is named, and the next start serves.

machine.start()
adjust(PATIENT)

# While it serves. The real engine's server goes on answering for five seconds, and leaves with status 0.
for victim, name in (("Worker", "a worker"), ("EngineCore", "the engine core"), ("api", "the API process")):
    with case(f"kill -9 of {name} while serving"):
        ready()
        inject(f"kill -KILL {part(victim)}")
        found = named(f"kill -9 of {name} while serving", "part-killed", decision="restarted", evidence="VLLM|KILL|-9")
        assert found["ready"] is True, found

with case("the restart is not only announced"):
    adjust(PATIENT.replace("29min", "1s"), "zz-soon")
    ready()
    inject(f"kill -KILL {part('Worker')}")
    machine.succeed(f"until [ $(systemctl show -P NRestarts {UNIT}) = 1 ]; do sleep 0.3; done", timeout=120)
    wait_ready()
    assert completes(), journal()[-3000:]
    assert not lost(kept), lost(kept)
    # What was mended is not told for ever.
    assert show("StatusText").startswith("ready"), show("StatusText")
adjust("", "zz-soon")

with case("kill -9 of the supervisor"):
    ready()
    inject(f"kill -KILL {part('supervisor')}")
    named("kill -9 of the supervisor", "supervisor-killed", decision="restarted", evidence="KILL|signal")

with case("kill -9 of supervisor and guard"):
    ready()
    inject(f"kill -KILL {part('supervisor')} {part('guard')}")
    named("kill -9 of supervisor and guard", "supervisor-killed", decision="restarted", evidence="KILL|signal")

with case("kill -9 of the guard"):
    ready()
    inject(f"kill -KILL {part('guard')}")
    named("kill -9 of the guard", "part-killed", decision="restarted", evidence="guard")

with case("a worker crashes while serving"):
    ready()
    inject(f"kill -SEGV {part('Worker')}")
    named("a worker crashes while serving", "part-crashed", decision="restarted", evidence="SEGV|-11|egmentation")

with case("kill -9 of a worker while loading"):
    begin(weights_s=60)
    wait_phase("weights")
    inject(f"kill -KILL {part('Worker')}")
    found = named("kill -9 of a worker while loading", "part-killed", decision="restarted", evidence="VLLM|KILL|-9")
    assert (found["ready"], found["phase"]) == (False, "weights"), found

# It ends in error, but says so to nobody: with status 0.
with case("the engine leaves with status 0 while loading"):
    begin(faults=[{"do": "exit", "at": "compile", "status": 0}])
    named(
        "the engine leaves with status 0 while loading",
        "silent-exit",
        decision="restarted",
        evidence="nobody had asked",
    )

done()

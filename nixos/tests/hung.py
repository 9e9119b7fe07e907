# Parts of the service stand still, while it loads and while it serves: noticed, and named with what they were doing.

machine.start()

# Nobody is left to say a word: systemd's watchdog ends it, here within seconds instead of minutes.
with case("SIGSTOP of the supervisor"):
    adjust(PATIENT + "WatchdogSec=20s\n")
    ready()
    inject(f"kill -STOP {part('supervisor')}")
    named("SIGSTOP of the supervisor", "supervisor-killed", decision="restarted", evidence="(?i)watchdog")

adjust(PATIENT + impatient())

# Every endpoint but a completion answers as if nothing were wrong.
with case("SIGSTOP of a worker while serving"):
    ready()
    inject(f"kill -STOP {part('Worker')}")
    found = named("SIGSTOP of a worker while serving", "hung", decision="restarted", evidence="state T")
    assert found["ready"] is True, found

with case("SIGSTOP of the workers while loading"):
    begin(weights_s=60)
    wait_phase("weights")
    inject("kill -STOP $(pgrep --uid rigappliance --full '^VLLM::Worker')")
    found = named("SIGSTOP of the workers while loading", "hung", decision="restarted", evidence="state T")
    assert (found["ready"], found["phase"]) == (False, "weights"), found

done()

# What the server says over HTTP is not taken at its word: a completion is the only proof.

machine.start()
adjust(PATIENT + impatient())


def serves_on(fault: str, seconds: int, **told: Any) -> None:
    """Whatever ``told`` changes, the engine works: nobody ends it."""
    ready()
    pid = show("MainPID")
    tell(pace=0, **told)
    machine.sleep(seconds)
    assert (show("ActiveState"), show("MainPID"), show("NRestarts")) == ("active", pid, "0"), journal()[-3000:]
    tell(pace=0)
    assert completes(), journal()[-3000:]
    row(fault, "none", "a completion came back", "none needed")


# Gateways go by /health: an engine that works and says otherwise is of no use to them.
with case("/health hangs"):
    ready()
    inject("true")
    tell(pace=0, health="hang")
    named("/health hangs, completions work", "hung", decision="restarted", evidence="/health")

with case("/health answers 500"):
    ready()
    inject("true")
    tell(pace=0, health=500)
    named(
        "/health answers 500, completions work",
        "probes-refused",
        decision="restarted",
        evidence="/health answers 500",
    )

# Before it is ready nothing has proved anything yet: what is not healthy is not handed out.
with case("/health answers 500 from the start on"):
    begin(health=500)
    named(
        "/health answers 500 from the start on",
        "probes-refused",
        decision="restarted",
        evidence="/health answers 500",
    )

# The core is dead, the server stays and says that all is well.
with case("/health answers 200 from a dead core"):
    ready(health="alive", stay=True)
    inject(f"kill -KILL {part('EngineCore')}")
    named("/health answers 200 from a dead core", "part-killed", decision="restarted", evidence="VLLM|KILL|-9")

# As before, where nobody saw the core die: HTTP alone is left to say so.
with case("the core is dead and HTTP says so"):
    ready(stay=True)
    inject("true")
    tell(pace=0, stay=True, completions="refuse", health=503)
    named("the core is dead and HTTP says so", "core-dead", decision="restarted", evidence="503|500")

# Everything answers but a completion.
with case("completions never return"):
    ready()
    inject("true")
    tell(pace=0, completions="hang")
    named("completions never return", "hung", decision="restarted", evidence="completion")

# The same look from outside, but it works on other requests all the time: busy, not hung.
with case("completions wait behind others' requests"):
    serves_on("completions wait behind others' requests", 15, completions="busy")

done()

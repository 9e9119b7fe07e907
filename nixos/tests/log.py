# A log that no reader expects: nothing is lost by it, nothing is called a failure, and a real cause behind it is found.

machine.start()
adjust(PATIENT)


def healthy(fault: str, **doing: Any) -> None:
    """The start gets ready in spite of ``doing``, and the supervisor has not grown with it."""
    ready(faults=[{"at": "config", **doing}])
    seconds = since_fault()
    assert completes(), journal()[-3000:]
    peak = int(machine.succeed(f"awk '/VmHWM/ {{ print $2 }}' /proc/{show('MainPID')}/status")) // 1024
    assert peak < 120, f"{peak} MiB of the supervisor"
    assert not lost(kept), lost(kept)
    row(fault, "none", f"ready; the supervisor took {peak} MiB", "none needed", seconds=seconds)


with case("a log line of 10 MB"):
    healthy("a log line of 10 MB", do="line", bytes=10_000_000)
with case("1 MB of binary noise in the log"):
    healthy("1 MB of binary noise in the log", do="noise", bytes=1_000_000)
# A newline every hour, at one character a second: as many characters here, in less time.
with case("no newline for an hour, scaled"):
    healthy("no newline for an hour, scaled", do="unended", for_s=9, every_s=0.0025)

# Behind all of it, the last words still count.
with case("a cause behind all of it"):
    begin(
        faults=[
            {"do": "line", "at": "config", "bytes": 10_000_000},
            {"do": "noise", "at": "config", "bytes": 1_000_000},
            {
                "do": "fail",
                "at": "weights",
                "text": "ValueError: No available memory for the cache blocks. Try increasing",
            },
        ]
    )
    named("a cause behind 10 MB of log in one line", "kv-cache-too-small", decision="stopped", evidence="cache blocks")

done()

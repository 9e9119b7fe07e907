# The port is taken, the address is gone, the network goes down, and a second unit wants the same state directory.

TAKER = "systemd-run --unit=taker --collect python3 -m http.server 8000 --bind 127.0.0.1"
GONE = "systemctl stop taker.service"

machine.start()
adjust(PATIENT + impatient())

# Another server was there before.
with case("port taken before the start"):
    clear()
    machine.succeed(TAKER)
    machine.wait_for_open_port(8000, "127.0.0.1")
    refused("port taken before the start")
    machine.succeed(GONE)

# It came after the checks, while the engine still loaded.
with case("port taken while it loads"):
    begin(faults=[{"do": "wait", "at": "config", "for_s": 7}])
    wait_phase("config")
    inject(TAKER)
    found = named("port taken while it loads", "port-taken", decision="stopped", evidence="8000|ddress already in use")
    stays_stopped(found)
    machine.succeed(GONE)
    machine.wait_for_closed_port(8000, "127.0.0.1")
    starts_again()
    clear()

# An address that this machine does not have: perhaps not yet.
with case("address missing"):
    adjust(PATIENT + forced() + "Environment=RIGAPPLIANCE_SERVER__HOST=192.0.2.7\n")
    begin()
    named(
        "server.host is no address of this machine",
        "address-missing",
        decision="restarted",
        evidence="192.0.2.7|address",
    )

# No request can reach it, and none can leave: the engine itself is well, and is left alone.
with case("network down"):
    adjust(PATIENT)
    ready()
    pid = show("MainPID")
    machine.succeed("ip link set lo down; sleep 12; ip link set lo up; sleep 3")
    assert (show("ActiveState"), show("MainPID"), show("NRestarts")) == ("active", pid, "0"), journal()[-3000:]
    assert completes(), journal()[-3000:]
    row("network down for 12 s while serving", "none", show("StatusText"), "none needed")

# Another unit with the same configuration is turned away, and the first does not notice.
with case("two units on one state directory"):
    ready()
    pid = show("MainPID")
    command = machine.succeed(f"systemctl cat {UNIT} | sed -n 's/^ExecStart=//p' | tail -n 1").strip()
    inject("true")
    machine.fail(f"systemd-run --wait --unit=second --uid=rigappliance --property=Type=notify {command}")
    seconds = since_fault()
    assert machine.succeed("journalctl --boot --unit=second --output=cat | grep -c status=9") != "0"
    said = machine.succeed("journalctl --boot --unit=second --output=cat --no-pager")
    assert (show("ActiveState"), show("MainPID")) == ("active", pid), journal()[-3000:]
    assert completes(), journal()[-3000:]
    assert not lost(kept), lost(kept)
    row("two units on one state directory", "refused: busy", refusal(said), "refused before the start", seconds=seconds)

done()

# Without a key's file the unit does not start; without an engine it fails for good and says what to do.

KEY = "a-key-that-must-not-show"

machine.start()

# The credential is read by systemd, before anything of the service runs.
machine.wait_until_succeeds(f"test $(systemctl show --property=ExecMainStatus --value {UNIT}) -eq 243", timeout=300)
assert show("Restart") == "on-failure", show("Restart")

machine.succeed(f"systemctl stop {UNIT}")
machine.succeed(f"systemctl reset-failed {UNIT} || true")
machine.succeed(f"umask 077 && printf %s {KEY} > /run/api-key")
machine.fail(f"systemctl start {UNIT}", timeout=300)

# No engine: starting again does not bring one.
assert show("ExecMainStatus") == "10", show("ExecMainStatus")
assert show("ActiveState") == "failed", show("ActiveState")
assert show("NRestarts") == "0", show("NRestarts")
assert "/opt/rigappliance/engine/bin/python is not there" in journal(), journal()
assert "to do:" in journal(), journal()

# The key shows nowhere.
everything = machine.succeed(f"systemctl show {UNIT}; systemctl cat {UNIT}; cat /etc/rigappliance/rig.*") + journal()
assert KEY not in everything

# The service's own directory, and nobody else's.
directory = machine.succeed("stat --format='%a %U %G' /var/lib/rigappliance").strip()
assert directory == "750 rigappliance rigappliance", directory

# Nothing of it is left.
machine.fail("pgrep --uid rigappliance")

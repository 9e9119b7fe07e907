"""The machine API on a Debian guest, and the guest itself: a real systemd, real cgroups, real swap."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rigappliance.errors import UsageError
from rigappliance.vmtest import Machine, Origin, cache
from rigappliance.vmtest.errors import AwaitedError, CommandError, GuestError, GuestGoneError

pytestmark = pytest.mark.vm

OLDEST_SYSTEMD = 254
# Far below the limits that the tests give, far above what a busy host needs.
AT_ONCE_S = 60.0
CLOCK_TOLERANCE_S = 30.0

UNIT_DIRECTORY = "/etc/systemd/system"


def write_unit(machine: Machine, name: str, *lines: str) -> None:
    text = "\\n".join(("[Service]", *lines, ""))
    machine.succeed(f"printf '{text}' >{UNIT_DIRECTORY}/{name}", "systemctl daemon-reload")


def boot_id(machine: Machine) -> str:
    return machine.succeed("cat /proc/sys/kernel/random/boot_id").strip()


def test_the_guest_runs_a_systemd_that_the_units_can_rely_on(machine: Machine) -> None:
    assert machine.succeed("systemctl is-system-running").strip() == "running"
    version = int(machine.succeed("systemctl --version").split()[1])
    assert version >= OLDEST_SYSTEMD
    assert machine.succeed("stat --file-system --format=%T /sys/fs/cgroup").strip() == "cgroup2fs"
    assert "memory" in machine.succeed("cat /sys/fs/cgroup/cgroup.controllers").split()
    assert int(machine.succeed("nproc")) == machine.origin.hardware.cpus


def test_a_saved_machine_goes_on_where_it_was_with_the_right_time(guest: Origin, tmp_path: Path) -> None:
    with Machine(guest) as machine:
        machine.succeed("seq 100000 >/root/numbers", "touch /run/passing", "date --set=2020-02-02")
        before = boot_id(machine)
        machine.save(tmp_path)
        assert not machine.booted
    (tmp_path / cache.USED).touch()
    with Machine(dataclasses.replace(guest, state=tmp_path)) as machine:
        assert abs(int(machine.succeed("date +%s")) - time.time()) < CLOCK_TOLERANCE_S
        # Memory and disk are of the same moment.
        machine.succeed("echo 3 >/proc/sys/vm/drop_caches", "test -e /run/passing")
        assert machine.succeed("wc --lines </root/numbers").strip() == "100000"
        assert boot_id(machine) == before


def test_two_machines_from_one_state_share_nothing(machine: Machine, guest: Origin) -> None:
    machine.succeed("echo mine >/root/mark && sync")
    with Machine(guest, name="other") as other:
        other.fail("test -e /root/mark")
    assert machine.succeed("cat /root/mark") == "mine\n"


def test_succeed_joins_outputs_and_leaves_out_standard_error(machine: Machine) -> None:
    assert machine.succeed("echo one; echo aside >&2", "echo two") == "one\ntwo\n"


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("exit 3", 3),
        ("false | cat", 1),
        ("false; echo unreached", 1),
        ("echo $unset_variable", 1),
        ("kill -KILL $$", 137),
        ("no-such-command", 127),
    ],
)
def test_execute_gives_the_status_that_the_driver_gives(machine: Machine, command: str, status: int) -> None:
    assert machine.execute(command) == (status, "")


def test_a_failed_command_shows_status_output_and_where_the_logs_are(machine: Machine) -> None:
    with pytest.raises(CommandError) as caught:
        machine.succeed("echo out; echo err >&2; exit 7")
    error = caught.value
    assert (error.status, error.output, error.errors) == (7, "out\n", "err\n")
    for part in ("`echo out; echo err >&2; exit 7` ended with status 7", "out", "err", "expected: status 0"):
        assert part in error.message
    logs = Path(error.remedy.removeprefix("see "))
    assert "status 7 after" in (logs / "shell.log").read_text(encoding="utf-8")
    assert "Linux version" in (logs / "console.log").read_text(encoding="utf-8")


def test_fail_wants_a_failure(machine: Machine) -> None:
    assert machine.fail("echo out; exit 1") == "out\n"
    with pytest.raises(CommandError, match="`true` succeeded"):
        machine.fail("true")


def test_a_command_that_exceeds_its_limit_is_ended_and_the_shell_goes_on(machine: Machine) -> None:
    assert machine.execute("echo begun; trap '' TERM; sleep 1000", timeout=2) == (124, "begun\n")
    with pytest.raises(CommandError, match="did not end within 1 s"):
        machine.succeed("sleep 1000", timeout=1)
    # What it leaves behind with its output open is not waited for longer than the limit and some.
    assert machine.execute("setsid sleep 1000 & echo left", timeout=2)[1] == "left\n"
    assert machine.succeed("echo on") == "on\n"


def test_output_is_whole_whatever_it_is(machine: Machine) -> None:
    assert machine.succeed("seq 300000") == "".join(f"{number}\n" for number in range(1, 300001))
    assert machine.succeed("printf 'no newline'") == "no newline"
    assert machine.succeed("printf 'ready a\\n1 0 b\\n'") == "ready a\n1 0 b\n"
    # The shell's own input is not the command's.
    assert machine.succeed("cat") == ""
    assert machine.succeed(f"# {'x' * 100_000}\necho long") == "long\n"


def test_a_command_without_check_is_not_waited_for(machine: Machine) -> None:
    machine.connect()
    began = time.monotonic()
    assert machine.execute("sleep 3; touch /run/later", check_output=False) == (-2, "")
    machine.fail("test -e /run/later")
    assert time.monotonic() - began < AT_ONCE_S
    machine.wait_for_file("/run/later", timeout=60)
    assert machine.execute("exit 5", check_return=False) == (-1, "")


def test_a_unit_that_fails_is_reported_at_once_with_its_last_words(machine: Machine) -> None:
    write_unit(machine, "bad.service", 'ExecStartPre=/bin/sh -c "echo last words; exit 9"', "ExecStart=/bin/true")
    machine.execute("systemctl start --no-block bad.service")
    began = time.monotonic()
    with pytest.raises(AwaitedError, match=r"(?s)unit bad\.service is failed.*status=9.*last words"):
        machine.wait_for_unit("bad.service")
    assert time.monotonic() - began < AT_ONCE_S


def test_a_unit_that_nobody_starts_is_reported_at_once(machine: Machine) -> None:
    write_unit(machine, "idle.service", "ExecStart=/bin/sleep 1000")
    began = time.monotonic()
    with pytest.raises(AwaitedError, match=r"unit idle\.service is inactive"):
        machine.wait_for_unit("idle.service")
    with pytest.raises(AwaitedError, match="is inactive"):
        machine.require_unit_state("idle.service")
    assert time.monotonic() - began < AT_ONCE_S


def test_a_unit_that_takes_its_time_is_waited_for(machine: Machine) -> None:
    write_unit(machine, "slow.service", "Type=oneshot", "RemainAfterExit=yes", "ExecStart=/bin/sleep 4")
    machine.systemctl("start --no-block slow.service")
    assert machine.get_unit_property("slow.service", "ActiveState") == "activating"
    machine.wait_for_unit("slow.service", timeout=120)
    info = machine.get_unit_info("slow.service")
    assert (info["ActiveState"], info["Type"], info["ExecMainStatus"]) == ("active", "oneshot", "0")
    machine.require_unit_state("slow.service")
    assert machine.stop_job("slow.service") == (0, "")
    assert machine.start_job("no-such.service")[0] != 0


def test_ports_and_conditions_are_waited_for(machine: Machine) -> None:
    machine.fail("ss --listening --tcp --numeric | grep --quiet :8000")
    machine.execute("sleep 2; exec python3 -m http.server 8000", check_output=False)
    machine.wait_for_open_port(8000, timeout=120)
    machine.succeed("pkill --full http.server")
    machine.wait_for_closed_port(8000, timeout=120)
    machine.succeed("date +%s >/run/begun")
    machine.wait_until_succeeds("test $(date +%s) -gt $(($(cat /run/begun) + 2))", timeout=60)
    machine.wait_until_fails("test $(date +%s) -lt $(($(cat /run/begun) + 4))", timeout=60)
    with pytest.raises(AwaitedError, match=r"(?s)not so after 1 s.*still.*expected: `echo still; false` succeeds"):
        machine.wait_until_succeeds("echo still; false", timeout=1)


def test_the_console_is_read(machine: Machine) -> None:
    machine.connect()
    assert "Linux version" in machine.get_console_log()
    machine.execute("sleep 2; echo a word on the console >/dev/ttyS0", check_output=False)
    machine.wait_for_console_text("a w..d on the console", timeout=60)
    with pytest.raises(AwaitedError, match="not on the console after 1 s"):
        machine.wait_for_console_text("a w..d on the console", timeout=1)


def test_copies_keep_content_and_modes(machine: Machine, tmp_path: Path) -> None:
    data = random.Random(1).randbytes(3_000_001)
    tree = tmp_path / "tree"
    (tree / "below").mkdir(parents=True)
    (tree / "below" / "data.bin").write_bytes(data)
    (tree / "run me").write_text("#!/bin/sh\necho ran\n", encoding="utf-8")
    (tree / "run me").chmod(0o750)
    (tree / "link").symlink_to("below/data.bin")
    (tree / "empty").touch(mode=0o600)

    machine.copy_from_host(str(tree), "/srv/new/place")
    assert machine.succeed("'/srv/new/place/run me'") == "ran\n"
    modes = machine.succeed("cd /srv/new/place; stat --format='%a %U:%G %F' 'run me' empty link below")
    assert modes.splitlines() == [
        "750 root:root regular file",
        "600 root:root regular empty file",
        "644 root:root regular file",
        "755 root:root directory",
    ]
    digest = hashlib.sha256(data).hexdigest()
    sums = machine.succeed("cd /srv/new/place; sha256sum <link; sha256sum <below/data.bin")
    assert sums.split() == [digest, "-", digest, "-"]

    # Into a directory that is there, and over a file that is there.
    machine.copy_from_host(str(tree / "below" / "data.bin"), "/srv/new")
    machine.copy_from_host(str(tree / "empty"), "/srv/new/place/link")
    assert machine.succeed("stat --format=%s /srv/new/data.bin /srv/new/place/link").split() == [str(len(data)), "0"]

    machine.copy_from_machine("/srv/new", "back")
    back = machine.out_dir / "back" / "new"
    assert (back / "data.bin").read_bytes() == data
    assert (back / "place" / "run me").stat().st_mode & 0o777 == 0o750
    with pytest.raises(CommandError, match="no-such-file"):
        machine.copy_from_machine("/no-such-file")
    with pytest.raises(UsageError, match="cannot read"):
        machine.copy_from_host(str(tmp_path / "absent"), "/srv")
    with pytest.raises(UsageError, match="copy a script"):
        machine.succeed("#" * 200_000)
    with pytest.raises(CommandError, match="copying"):
        machine.copy_from_host(str(tree), "/proc/no-directory/tree")
    assert machine.succeed("echo on") == "on\n"


def test_swap_and_memory_limits_are_real(machine: Machine) -> None:
    machine.succeed("fallocate --length=256M /swap", "chmod 600 /swap", "mkswap /swap", "swapon --priority 7 /swap")
    assert machine.succeed("tail -1 /proc/swaps").split() == ["/swap", "file", "262140", "0", "7"]
    take = "python3 -c 'import time; data = bytearray(b\"x\") * (96 << 20); time.sleep(1000)'"
    machine.succeed(f"systemd-run --unit=taker --property=MemoryMax=48M --property=MemoryAccounting=yes {take}")
    swapped = "$(cat /sys/fs/cgroup/system.slice/taker.service/memory.swap.current)"
    machine.wait_until_succeeds(f"test {swapped} -gt $((32 << 20))", timeout=120)
    assert int(machine.succeed("tail -1 /proc/swaps").split()[3]) > 32 * 1024

    # Without swap the limit kills, and systemd says so.
    machine.succeed("systemctl stop taker.service", "swapoff /swap")
    machine.execute(f"systemd-run --unit=victim --property=MemoryMax=48M {take}")
    machine.wait_until_succeeds("systemctl show --property=Result victim.service | grep oom-kill", timeout=120)


def test_the_shell_outlives_what_runs_out_of_memory(machine: Machine) -> None:
    hungry = "python3 -c 'kept = []\nwhile True: kept.append(bytearray(b\"x\") * (32 << 20))'"
    assert machine.execute(hungry, timeout=300)[0] == 137
    assert machine.succeed("echo on") == "on\n"
    machine.wait_for_console_text("Out of memory: Killed process", timeout=60)


def test_a_reboot_keeps_files_and_is_a_new_boot(machine: Machine) -> None:
    machine.start(allow_reboot=True)
    before = boot_id(machine)
    machine.succeed("echo kept >/root/mark", "echo passing >/run/mark")
    pid = machine.pid
    machine.reboot()
    assert machine.succeed("cat /root/mark") == "kept\n"
    machine.fail("test -e /run/mark")
    assert boot_id(machine) != before
    assert machine.pid == pid


def test_a_reboot_has_to_be_allowed(machine: Machine) -> None:
    machine.start()
    with pytest.raises(GuestError, match=r"expected: start\(allow_reboot=True\)"):
        machine.reboot()


def test_a_power_cut_keeps_what_was_synced(machine: Machine) -> None:
    before = boot_id(machine)
    machine.succeed("echo kept >/root/mark && sync /root/mark /root")
    pid = machine.pid
    machine.crash()
    assert pid is not None and not Path(f"/proc/{pid}").exists()
    assert not machine.booted and not machine.is_up()
    machine.start()
    assert machine.succeed("cat /root/mark") == "kept\n"
    assert boot_id(machine) != before
    assert "recovery complete" in machine.get_console_log()


def test_a_shutdown_stops_units_in_order_and_writes_everything(machine: Machine) -> None:
    write_unit(machine, "last.service", "ExecStart=/bin/sleep 1000", 'ExecStop=/bin/sh -c "echo stopped >/root/mark"')
    machine.succeed("systemctl start last.service")
    machine.shutdown()
    assert not machine.booted
    machine.shutdown()
    assert machine.succeed("cat /root/mark") == "stopped\n"
    assert "recovery complete" not in machine.get_console_log()


def test_a_guest_that_dies_during_a_command_is_told_with_its_last_words(machine: Machine) -> None:
    with pytest.raises(GuestGoneError, match=r"(?s)QEMU has ended.*sysrq.*Kernel panic.*see /"):
        machine.succeed("echo 1 >/proc/sys/kernel/sysrq; echo c >/proc/sysrq-trigger; sleep 100", timeout=120)
    assert not machine.booted


def test_nothing_is_left_when_the_test_process_is_killed(guest: Origin, tmp_path: Path) -> None:
    script = (
        "import time; from rigappliance.vmtest import Machine, booted, control_recipe; "
        "machine = Machine(booted(control_recipe())); machine.connect(); "
        "print(machine.pid, machine._run.path, flush=True); time.sleep(1000)"
    )
    owner = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    pid, directory = owner.stdout.readline().split()
    assert Path(f"/proc/{pid}").exists() and (Path(directory) / "disk.qcow2").exists()
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    deadline = time.monotonic() + AT_ONCE_S
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()
    with Machine(guest, out_dir=tmp_path):
        assert not Path(directory).exists()


def test_the_package_is_installed_without_a_network(control_guest: Origin) -> None:
    with Machine(control_guest) as machine:
        assert machine.succeed("rigappliance --version").startswith("rigappliance ")
        assert machine.succeed("readlink /usr/bin/rigappliance").strip() == "/opt/rigappliance/control/bin/rigappliance"
        assert machine.succeed("ip -brief link").split()[::4] == ["lo"]

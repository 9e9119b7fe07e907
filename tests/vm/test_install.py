"""The appliance on a real Debian, from a dry run to the last trace."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from rigappliance.demo.checkpoint import write_checkpoint
from rigappliance.launch.phases import LABELS
from rigappliance.vmtest import Hardware, Machine, Origin, with_control
from rigappliance.vmtest.standin.layout import lay_out
from rigappliance.vmtest.standin.settings import DEFAULT_FILE
from tests.unit.place import SHAPE
from tests.vm.everything import difference, everything

pytestmark = pytest.mark.vm

RECORDINGS = Path(__file__).resolve().parents[1] / "recordings"
# It loads for ever, at work and not hung.
STANDIN = {"faults": [{"do": "hang", "busy": True, "at": "weights"}]}
CONFIG = "/etc/rig.toml"
ENGINE = "/opt/rigappliance/engine"
STATE = "/var/lib/rigappliance"
CHECKPOINT = f"{STATE}/models/tiny"
SWAP_FILE = "/var/lib/rigappliance.swap"
MIB = 1024**2
# A CPU engine needs 2 GB for its processes alone.
HARDWARE = Hardware(memory_bytes=2048 * MIB)
DECLARATION = f"""
model.path = "{CHECKPOINT}"
model.name = "tiny"
[engine]
entrypoint = "module"
device = "cpu"
tensor_parallel = 1
max_model_len = 512
kv_cache_memory = "16MiB"
[memory]
swap = "512MiB"
swap_file = "{SWAP_FILE}"
swap_priority = 7
swappiness = 11
[hardware]
cards = 0
ram = "2GB"
"""


def prepare(machine: Machine, directory: Path) -> None:
    """What an operator brings: an engine, a checkpoint (elsewhere as yet) and a configuration."""
    write_checkpoint(directory / "tiny", SHAPE)
    (directory / "rig.toml").write_text(DECLARATION)
    machine.copy_from_host(str(directory / "tiny"), "/srv/tiny")
    machine.copy_from_host(str(directory / "rig.toml"), CONFIG)
    lay_out(directory / "engine", "/usr/bin/python3", RECORDINGS)
    machine.copy_from_host(str(directory / "engine"), ENGINE)
    (directory / "standin.json").write_text(json.dumps(STANDIN))
    machine.copy_from_host(str(directory / "standin.json"), DEFAULT_FILE)
    # Compiled once, and on the disk, so that a power cut is about what comes after.
    machine.succeed(f"{ENGINE}/bin/python --help; sync")


@pytest.fixture(scope="module")
def origin() -> Origin:
    return with_control(hardware=HARDWARE)


@pytest.fixture
def machine(origin: Origin, tmp_path: Path) -> Iterator[Machine]:
    with Machine(origin) as machine:
        machine.start(allow_reboot=True)
        prepare(machine, tmp_path)
        yield machine


def test_a_dry_run_changes_nothing(machine: Machine) -> None:
    before = everything(machine)
    shown = machine.succeed(f"rigappliance install --dry-run -c {CONFIG}")
    assert "new     /etc/systemd/system/rigappliance.service\n" in shown
    assert "set     vm.swappiness 60 → 11\n" in shown
    assert shown.endswith("dry run: nothing was changed\n")
    assert difference(before, everything(machine)) == {}


@dataclass
class Rig:
    """A machine on which the appliance was installed and that was rebooted since."""

    machine: Machine
    before: dict[str, str]


@pytest.fixture(scope="module")
def rig(origin: Origin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with Machine(origin) as machine:
        machine.start(allow_reboot=True)
        prepare(machine, tmp_path_factory.mktemp("rig"))
        before = everything(machine)
        machine.succeed(f"rigappliance install --no-start -c {CONFIG}")
        machine.fail("systemctl is-active rigappliance.service")
        machine.succeed(f"cp -r /srv/tiny/. {CHECKPOINT}")
        machine.reboot()
        yield Rig(machine, before)


def test_the_boot_does_not_wait_for_the_engine(rig: Rig) -> None:
    # It never gets ready here.
    rig.machine.wait_for_unit("multi-user.target")
    rig.machine.wait_until_succeeds("test $(systemctl is-active rigappliance.service) = activating", timeout=300)


def test_swap_is_as_declared_after_a_reboot(rig: Rig) -> None:
    machine = rig.machine
    machine.wait_for_unit("rigappliance-swap.service")
    shown = machine.succeed("swapon --show=NAME,TYPE,SIZE,PRIO --bytes --noheadings").split()
    assert shown == [SWAP_FILE, "file", str(512 * MIB - 4096), "7"]
    assert machine.succeed(f"stat -c '%a %U' {SWAP_FILE}").split() == ["600", "root"]
    assert machine.succeed("sysctl -n vm.swappiness vm.page-cluster").split() == ["11", "4"]
    machine.succeed(f"rigappliance swap status -c {CONFIG}")


def test_the_service_loads_and_says_how_far_it_is(rig: Rig) -> None:
    machine = rig.machine
    machine.wait_until_succeeds("systemctl show -P StatusText rigappliance.service | grep weights", timeout=120)
    info = machine.get_unit_info("rigappliance.service")
    assert (info["ActiveState"], info["SubState"]) == ("activating", "start")
    assert any(label in info["StatusText"] for label in LABELS.values())
    assert machine.succeed(f"ps -o user= -p {info['MainPID']}").strip() == "rigappliance"
    users = machine.succeed(f"ps -o user= -p $(paste -sd, /sys/fs/cgroup{info['ControlGroup']}/cgroup.procs)").split()
    # Supervisor, guard, API server, resource tracker, core and worker.
    assert users == ["rigappliance"] * 6
    assert "weights" in machine.succeed(f"rigappliance status -c {CONFIG}")


def test_the_service_has_the_memory_that_is_declared(rig: Rig) -> None:
    machine = rig.machine
    group = "/sys/fs/cgroup" + machine.get_unit_property("rigappliance.service", "ControlGroup")
    total = int(machine.succeed("grep MemTotal /proc/meminfo").split()[1]) * 1024
    limit, swap, high = machine.succeed(f"cd {group}; cat memory.max memory.swap.max memory.high").split()
    assert int(limit) == pytest.approx(total * 0.9, abs=MIB)
    assert (swap, high) == ("max", "max")


def test_systemd_finds_nothing_wrong_with_the_units(rig: Rig) -> None:
    machine = rig.machine
    assert machine.succeed("systemd-analyze verify /etc/systemd/system/rigappliance*.{service,target} 2>&1") == ""
    told = machine.succeed("systemd-analyze security --no-pager rigappliance.service | tail -n 1")
    found = re.search(r"exposure level for \S+: (\d+\.\d+)", told)
    assert found is not None
    assert float(found[1]) <= 3.0


def test_installing_again_has_nothing_to_do(rig: Rig) -> None:
    assert rig.machine.succeed("rigappliance install").endswith("nothing to do\n")


def test_a_stop_leaves_no_process(rig: Rig) -> None:
    machine = rig.machine
    machine.succeed("systemctl stop rigappliance.service")
    machine.fail("pgrep -u rigappliance")
    assert machine.get_unit_property("rigappliance.service", "Result") == "success"
    machine.succeed("systemctl start --no-block rigappliance.service")
    machine.wait_until_succeeds("pgrep -u rigappliance")


def test_uninstalling_leaves_nothing(rig: Rig) -> None:
    machine = rig.machine
    shown = machine.succeed("rigappliance uninstall --delete-checkpoint 2>&1")
    assert "stays" not in shown
    assert difference(rig.before, everything(machine)) == {}
    status, _ = machine.execute("rigappliance uninstall")
    assert status == 11


# A file system without preallocation, so that the file takes its time to be made.
SLOW = """
fallocate -l 1GiB /slow.ext3
mkfs.ext3 -q /slow.ext3
echo '/slow.ext3 /slow ext3 loop,nofail 0 0' >> /etc/fstab
mkdir /slow
systemctl daemon-reload
mount /slow
sed -i 's,^swap_file.*,swap_file = "/slow/rig.swap",' /etc/rig.toml
"""


def test_a_power_cut_while_the_swap_file_is_made(machine: Machine) -> None:
    machine.succeed(SLOW, "sync")
    machine.succeed(f"rigappliance install -c {CONFIG}")
    machine.wait_until_succeeds("test $(stat -c %s /slow/rig.swap.partial) -gt 50000000")
    machine.fail("test -e /slow/rig.swap")
    machine.crash()
    machine.start(allow_reboot=True)
    machine.wait_for_unit("rigappliance-swap.service")
    assert machine.succeed("swapon --show=NAME,SIZE --bytes --noheadings").split() == [
        "/slow/rig.swap",
        str(512 * MIB - 4096),
    ]
    machine.fail("test -e /slow/rig.swap.partial")


def test_a_power_cut_while_it_is_installed(machine: Machine) -> None:
    before = everything(machine)
    machine.execute(f"rigappliance install -c {CONFIG}", check_output=False)
    machine.wait_for_file("/etc/systemd/system/rigappliance.service")
    machine.crash()
    machine.start(allow_reboot=True)
    machine.succeed("rigappliance uninstall --delete-checkpoint")
    left = difference(before, everything(machine))
    # systemd-sysusers, where the cut met it, leaves its own unfinished copies.
    assert {name: change for name, change in left.items() if not name.startswith("/etc/.#")} == {}


def test_the_checkpoint_stays_and_is_used_again(machine: Machine) -> None:
    machine.succeed(f"rigappliance install --no-start -c {CONFIG}")
    machine.succeed(f"cp -r /srv/tiny/. {CHECKPOINT}; chown -R rigappliance: {CHECKPOINT}; chmod 640 {CHECKPOINT}/*")
    said = machine.succeed("rigappliance uninstall 2>&1")
    assert f"{CHECKPOINT}/ stays: the checkpoint" in said
    machine.fail("id rigappliance")
    assert machine.succeed(f"find {STATE} -not -user root").strip() == ""
    machine.succeed(f"rigappliance install -c {CONFIG}")
    machine.wait_until_succeeds("systemctl show -P StatusText rigappliance.service | grep weights", timeout=120)

"""A Debian machine in a directory, with stand-ins for the programs that would change the real one.

They do to the directory what systemd 252 and shadow 4.13 did to a real machine;
the real ones are used by the tests in tests/vm.
"""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rigappliance.install.apply import perform
from rigappliance.install.declaration import Request
from rigappliance.install.host import Done, Host
from rigappliance.install.plan import Plan, plan_install
from rigappliance.install.uninstall import Removal, plan_uninstall

PROGRAM = Path("/opt/rigappliance/control/bin/rigappliance")
CONFIG = Path("/etc/rig.toml")
STATE = Path("/var/lib/rigappliance")
CHECKPOINT = STATE / "models/tiny"
SWAP_FILE = Path("/var/lib/rigappliance.swap")
UNITS = Path("/etc/systemd/system")
# Everything on, and small.
SOUND = """
state_dir = "/var/lib/rigappliance"
[model]
path = "/var/lib/rigappliance/models/tiny"
[memory]
swap = "16GiB"
"""
USER_LINE = "rigappliance:x:{uid}:{gid}:vLLM of rigappliance:/var/lib/rigappliance:/usr/sbin/nologin\n"
REMEDY = "mend that"
DIRECTORIES = (
    "etc/modules-load.d",
    "etc/sysctl.d",
    "etc/systemd/system/multi-user.target.wants",
    "etc/sysusers.d",
    "etc/tmpfiles.d",
    "proc/self",
    "run/systemd/system",
    "var/lib",
)

LEFT_BY_LAUNCHES = ("engine.log", "history.jsonl", "failures.jsonl", "state.json", "compact", "reserve", "lock")


class Machine:
    """``host`` is what the product sees of it, ``ran`` what was run on it; ``failing`` makes commands fail."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ran: list[str] = []
        self.active: dict[str, str] = {}
        self.loaded: dict[str, str] = {}
        self.failing: dict[str, Done] = {}
        for directory in DIRECTORIES:
            (root / directory).mkdir(parents=True)
        self.write("/etc/passwd", "root:x:0:0:root:/root:/bin/bash\n")
        self.write("/etc/group", "root:x:0:\n")
        self.write("/proc/sys/vm/swappiness", "60\n")
        self.write("/proc/sys/vm/page-cluster", "3\n")
        self.write("/proc/self/mountinfo", "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n")
        self.write(str(PROGRAM), "#!/bin/sh\n").chmod(0o755)
        self.write("/opt/rigappliance/engine/bin/python", "")
        self.write(str(CONFIG), SOUND)
        self.host = Host(
            root=root,
            run=self.run,
            systemd=257,
            uid=0,
            program=PROGRAM,
            code=(PROGRAM,),
            owner=os.getuid(),
            group=os.getgid(),
        )

    # --- what a test does ----------------------------------------------------

    def at(self, path: Path | str) -> Path:
        return self.host.at(Path(path))

    def write(self, path: str | Path, text: str) -> Path:
        place = self.root / str(path).lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        return place

    def declare(self, text: str) -> None:
        self.write(CONFIG, text)

    def plan(self, **request: Any) -> Plan:
        return plan_install(self.host, Request(**{"config": CONFIG, **request}))

    def install(self, **request: Any) -> Plan:
        """Install, and return what the plan was."""
        plan = self.plan(**request)
        self.perform(plan)
        return plan

    def uninstall(self, **options: bool) -> list[str]:
        """Uninstall, and return all that was said about what stays."""
        removal = plan_uninstall(self.host, **options)
        return [*removal.notes, *self.perform(removal)]

    def perform(self, plan: Plan | Removal, count: int | None = None) -> list[str]:
        """Carry out the first ``count`` steps, as if the power then failed."""
        return perform(self.host, plan.steps[:count], lambda step: None, REMEDY)

    def commands(self, work: Callable[[], object]) -> list[str]:
        """What ``work`` runs, questions left out."""
        self.ran.clear()
        work()
        return [command for command in self.ran if "is-active" not in command]

    def listing(self) -> dict[str, tuple[str, int, str]]:
        """All that is there: kind, mode and content by path; also what systemd would tell."""
        found = {f"state of {name}": ("state", 0, state) for name, state in self.active.items()}
        found |= {f"unit {name}": ("text", 0, text) for name, text in self.loaded.items()}
        for path in sorted(self.root.rglob("*")):
            mode = path.lstat().st_mode
            text = str(path.readlink()) if path.is_symlink() else path.read_text() if path.is_file() else ""
            found[str(path.relative_to(self.root))] = (stat.filemode(mode)[0], stat.S_IMODE(mode), text)
        return found

    def fill_state(self) -> None:
        """What a start leaves: caches, logs and a checkpoint."""
        for name in (*LEFT_BY_LAUNCHES, "cache/triton/a/b.so", "tmp/x"):
            self.write(STATE / name, "x")
        self.write(CHECKPOINT / "config.json", "{}")
        self.write(CHECKPOINT / "model.safetensors", "weights")
        # As the service's umask leaves them.
        self.at(CHECKPOINT / "model.safetensors").chmod(0o640)

    # --- what the machine does -----------------------------------------------

    def run(self, argv: Sequence[str]) -> Done:
        command = shlex.join(argv)
        self.ran.append(command)
        for beginning, done in self.failing.items():
            if command.startswith(beginning):
                return done
        match list(argv):
            case ["systemctl", "is-active", *names]:
                states = [self.active.get(name, "inactive") for name in names]
                return Done(0 if set(states) == {"active"} else 3, "".join(f"{state}\n" for state in states))
            case ["systemctl", "start", "--no-block", *names]:
                self.active.update(dict.fromkeys(names, "activating"))
            case ["systemctl", "stop", *names]:
                self.stop(names)
            case ["systemctl", "enable", *names]:
                self.enable(names)
            case ["systemctl", "disable", *rest]:
                names = [name for name in rest if name != "--now"]
                if [name for name in names if not self.at(UNITS / name).exists()]:
                    return Done(1, "Failed to disable unit: Unit file does not exist.\n")
                if "--now" in rest:
                    self.stop(names)
                self.disable(names)
            case ["systemctl", "reset-failed", *names]:
                return Done(1, f"Failed to reset failed state of unit {names[0]}: Unit {names[0]} not loaded.\n")
            case ["systemd-sysusers", file]:
                self.make_user(file)
            case ["systemd-tmpfiles", "--create", file]:
                self.make_directories(file)
            case ["userdel", name]:
                self.drop("/etc/passwd", name)
                self.drop("/etc/group", name)
            case ["groupdel", name]:
                self.drop("/etc/group", name)
            case ["env", variable, _, "swap", "off", *delete]:
                if delete:
                    self.at(variable.partition("=")[2]).unlink()
            case ["systemctl", "daemon-reload"] | ["modprobe", _]:
                pass
            case _:
                raise AssertionError(f"nothing is known of {command}")
        if list(argv)[:2] in (["systemctl", "daemon-reload"], ["systemctl", "enable"], ["systemctl", "disable"]):
            self.loaded = {path.name: path.read_text() for path in self.at(UNITS).glob("*.*") if path.is_file()}
        return Done(0, "")

    def stop(self, names: Sequence[str]) -> None:
        for name in names:
            self.active.pop(name, None)

    def wants(self, name: str) -> list[Path]:
        text = self.at(UNITS / name).read_text()
        targets = [line.partition("=")[2] for line in text.splitlines() if line.startswith("WantedBy=")]
        return [self.at(UNITS / f"{target}.wants" / name) for target in " ".join(targets).split()]

    def enable(self, names: Sequence[str]) -> None:
        for name in names:
            for link in self.wants(name):
                link.parent.mkdir(exist_ok=True)
                link.unlink(missing_ok=True)
                link.symlink_to(UNITS / name)

    def disable(self, names: Sequence[str]) -> None:
        for directory in list(self.at(UNITS).glob("*.wants")):
            for name in names:
                (directory / name).unlink(missing_ok=True)
            # systemd tidies up behind itself.
            if not any(directory.iterdir()) and directory.name != "multi-user.target.wants":
                directory.rmdir()

    def make_user(self, file: str) -> None:
        _, name, *_ = next(line for line in self.at(file).read_text().splitlines() if line.startswith("u ")).split()
        ids = {"uid": os.getuid(), "gid": os.getgid()}
        for database, line in (("/etc/passwd", USER_LINE.format(**ids)), ("/etc/group", f"{name}:x:{ids['gid']}:\n")):
            text = self.at(database).read_text()
            if f"{name}:" not in text:
                self.write(database, text + line)

    def make_directories(self, file: str) -> None:
        for line in self.at(file).read_text().splitlines():
            if line.startswith("d "):
                place = self.at(shlex.split(line)[1])
                place.mkdir(parents=True, exist_ok=True)
                place.chmod(0o750)

    def drop(self, database: str, name: str) -> None:
        lines = self.at(database).read_text().splitlines(keepends=True)
        self.write(database, "".join(line for line in lines if not line.startswith(f"{name}:")))

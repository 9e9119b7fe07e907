"""All that an installation could leave on a machine."""

from __future__ import annotations

from rigappliance.vmtest import Machine

# Path → why it may differ between two looks at the same machine.
CHANGING = {
    "/dev": "made by the kernel",
    "/proc": "made by the kernel",
    "/run": "of this boot alone",
    "/sys": "made by the kernel",
    "/tmp": "of this boot alone",
    "/var/tmp/systemd-private-*": "of this boot alone, one for each service with PrivateTmp=",
    "/var/log": "the machine's own diary",
    "/var/lib/systemd/random-seed": "renewed at each boot",
    "*/__pycache__": "Python's own, of the program and not of the installation",
    "/etc/.pwd.lock": "made by whoever changes users for the first time",
    # The content before the last change, whoever makes it.
    "/etc/passwd-": "a backup of the distribution's",
    "/etc/group-": "a backup of the distribution's",
    "/etc/shadow-": "a backup of the distribution's",
    "/etc/gshadow-": "a backup of the distribution's",
}
PARAMETERS = ("vm.swappiness", "vm.page-cluster")
FORMAT = r"%p\t%y %m %U:%G %l\t%s %T@\n"


def everything(machine: Machine) -> dict[str, str]:
    """Files with kind, mode, owner and content, units, users, swap and the kernel's parameters, each by a name."""
    pruned = " -o ".join(f"-path '{path}'" for path in CHANGING)
    found: dict[str, str] = {}
    for line in machine.succeed(rf"find / \( {pruned} \) -prune -o -printf '{FORMAT}'", timeout=300).splitlines():
        path, what, content = line.split("\t")
        # The times of a directory tell only that something was there; below /etc the content itself is compared.
        plain = what.startswith("f") and not path.startswith("/etc/")
        found[path] = f"{what} {content}" if plain else what
    for line in machine.succeed("find /etc -type f -exec sha256sum {} +", timeout=120).splitlines():
        digest, path = line.split(maxsplit=1)
        if path in found:
            found[path] += f" {digest}"
    for line in machine.succeed("systemctl list-unit-files --no-legend --no-pager").splitlines():
        found[f"unit file {line.split()[0]}"] = " ".join(line.split())
    for line in machine.succeed("systemctl list-units --all --plain --no-legend --no-pager 'rig*'").splitlines():
        found[f"unit {line.split()[0]}"] = " ".join(line.split())
    found["failed units"] = machine.succeed("systemctl list-units --failed --plain --no-legend --no-pager")
    found["swap"] = machine.succeed("cat /proc/swaps")
    found["users"] = machine.succeed("getent passwd; getent group")
    for name in PARAMETERS:
        found[name] = machine.succeed(f"sysctl -n {name}")
    return found


def difference(before: dict[str, str], after: dict[str, str]) -> dict[str, tuple[str | None, str | None]]:
    """What is not the same, with what it was and is."""
    return {
        name: (before.get(name), after.get(name))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    }

"""What `rigappliance install` would do on this host, as steps."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from rigappliance.install.compare import Comparison, compare
from rigappliance.install.declaration import Declaration, Request, declare
from rigappliance.install.host import Host
from rigappliance.install.manifest import Manifest, read_manifest
from rigappliance.install.notes import notes_on
from rigappliance.install.parameters import settle
from rigappliance.install.record import during, next_manifest
from rigappliance.install.requirements import MINIMUM_SYSTEMD, check_plain, check_root, check_running, check_version
from rigappliance.install.statedir import check_directories
from rigappliance.install.steps import Command, MakeDirectory, SaveManifest, Step
from rigappliance.install.swap import leave_swap
from rigappliance.install.trust import check_configuration, check_program, check_visible
from rigappliance.install.unitstate import active_units
from rigappliance.install.users import group_entry, user_entry
from rigappliance.render.plainhost import MODULES, SYSUSERS, TMPFILES, UNIT_DIRECTORY, HostFile, host_files
from rigappliance.render.systemd import USER


@dataclass(frozen=True)
class Plan:
    """``same``: files that are as they should be; ``start``: whether the units are started, or run already."""

    declaration: Declaration
    systemd: int | None
    same: tuple[Path, ...]
    steps: tuple[Step, ...]
    notes: tuple[str, ...]
    start: bool


def plan_install(host: Host, request: Request, *, dry_run: bool = False) -> Plan:
    """All that an installation would do. Nothing is changed, and all that forbids it is found before anything is.

    A dry run can be anybody's, on any machine.  Raises ``ConfigError`` for a wrong
    declaration and ``PreflightError`` for a host or a place that will not do.
    """
    previous = read_manifest(host)
    declaration = declare(request, host, previous)
    readable = host.systemd is not None and host.systemd >= MINIMUM_SYSTEMD
    systemd = host.systemd if readable else None
    # What no unit can hold is a mistake of the declaration, whatever the machine is like.
    files = wanted_files(host, declaration, systemd)
    check_host(host, declaration, dry_run)
    comparison = compare(host, files, declaration.file, previous)
    manifest = next_manifest(host, declaration, comparison, previous, missing_directories(host, declaration, files))
    active = active_units(host, set(manifest.units) | set(previous.units if previous else ()))
    parameters = settle(host, declaration.config, previous)
    manifest = manifest.model_copy(update={"parameters": parameters.records})
    left = leave_swap(host, previous, manifest, active)
    changes: list[Step] = [
        *retire_units(host, previous, manifest),
        *left.steps,
        *(MakeDirectory(path) for path in manifest.directories if not host.at(path).exists()),
        *comparison.write,
        *comparison.remove,
        *account_steps(host, declaration, comparison, previous),
        *parameters.steps,
        *unit_steps(host, files, comparison, previous),
    ]
    idle = [name for name in manifest.units if name not in active]
    begin = [SaveManifest(during(manifest, previous))] if changes else []
    end = [SaveManifest(manifest)] if changes or manifest != previous else []
    starts = [Command(("systemctl", "start", "--no-block", *idle))] if request.start and idle else []
    notes = [
        *([] if readable else ["no systemd here that reads the units: they are shown for the newest"]),
        *(f"{path} was edited: it stays, and is no longer part of the installation" for path in comparison.kept),
        *parameters.notes,
        *left.notes,
        *notes_on(host, declaration, comparison, previous, active),
    ]
    return Plan(declaration, systemd, comparison.same, (*begin, *changes, *end, *starts), tuple(notes), request.start)


def check_host(host: Host, declaration: Declaration, dry_run: bool) -> None:
    """Raises ``PreflightError`` for what forbids the installation."""
    config = declaration.config
    check_plain(host)
    if not dry_run:
        check_root(host, "install")
        check_running(host)
        check_version(host)
    check_configuration(host, declaration.file)
    check_program(host)
    check_visible(
        {
            "the configuration": declaration.file,
            "the program": host.program,
            "engine.python": config.engine.python.absolute(),
            "state_dir": config.state_dir.absolute(),
            "model.path": config.model.path.absolute(),
        }
    )
    check_directories(host, config, declaration.fetch)


def wanted_files(host: Host, declaration: Declaration, systemd: int | None) -> tuple[HostFile, ...]:
    files = host_files(declaration.config, declaration.file, host.program, fetch=declaration.fetch, systemd=systemd)
    example = (HostFile(declaration.file, declaration.text),) if declaration.example else ()
    return (*example, *files)


def wants_links(file: HostFile) -> list[Path]:
    """What `systemctl enable` makes for a unit."""
    if file.path.parent != UNIT_DIRECTORY:
        return []
    targets = " ".join(re.findall(r"^WantedBy=(.*)$", file.text, re.MULTILINE)).split()
    return [UNIT_DIRECTORY / f"{target}.wants" / file.path.name for target in targets]


def missing_directories(host: Host, declaration: Declaration, files: tuple[HostFile, ...]) -> list[Path]:
    """Directories that are root's and have to be made, outermost first."""
    state, model = declaration.config.state_dir.absolute(), declaration.config.model.path.absolute()
    inner = [file.path for file in files] + [link for file in files for link in wants_links(file)] + [state]
    if declaration.fetch and not model.is_relative_to(state):
        inner.append(model)
    missing = {parent for path in inner for parent in path.parents if not host.at(parent).exists()}
    return sorted(path for path in missing if not path.is_relative_to(state))


def retire_units(host: Host, previous: Manifest | None, manifest: Manifest) -> list[Step]:
    """Units that the configuration no longer needs are stopped before their files go."""
    gone = [
        name
        for name in (previous.units if previous else ())
        if name not in manifest.units and host.at(UNIT_DIRECTORY / name).exists()
    ]
    return [Command(("systemctl", "disable", "--now", *gone))] if gone else []


def account_steps(
    host: Host, declaration: Declaration, comparison: Comparison, previous: Manifest | None
) -> list[Step]:
    """User and group, and the directories that they get."""
    again = previous is None or not previous.complete
    without = user_entry(host, USER) is None or group_entry(host, USER) is None
    steps: list[Step] = []
    if again or without or SYSUSERS in comparison.changed:
        steps.append(Command(("systemd-sysusers", str(SYSUSERS))))
    state, model = declaration.config.state_dir.absolute(), declaration.config.model.path.absolute()
    needed = [state, model] if declaration.fetch or model.is_relative_to(state) else [state]
    if again or without or TMPFILES in comparison.changed or not all(host.at(path).is_dir() for path in needed):
        steps.append(Command(("systemd-tmpfiles", "--create", str(TMPFILES))))
    return steps


def unit_steps(
    host: Host, files: tuple[HostFile, ...], comparison: Comparison, previous: Manifest | None
) -> list[Step]:
    """Module, reload and enabling."""
    again = previous is None or not previous.complete
    steps: list[Step] = []
    if any(file.path == MODULES for file in files) and (again or MODULES in comparison.changed):
        steps.append(Command(("modprobe", "nvidia-uvm"), failure="note"))
    if again or any(path.parent == UNIT_DIRECTORY for path in comparison.changed):
        steps.append(Command(("systemctl", "daemon-reload")))
    disabled = [file.path.name for file in files if any(not host.at(link).is_symlink() for link in wants_links(file))]
    if disabled:
        steps.append(Command(("systemctl", "enable", *disabled)))
    return steps

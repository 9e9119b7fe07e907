"""All files of the appliance on a host without NixOS: units, kernel parameters, user, directories, modules."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rigappliance.config import RigConfig
from rigappliance.render.systemd import CONFIG_FILE, PROGRAM, USER, unit_text, units
from rigappliance.render.unitsyntax import quoted

UNIT_DIRECTORY = Path("/etc/systemd/system")
SYSCTL = Path("/etc/sysctl.d/60-rigappliance.conf")
SYSUSERS = Path("/etc/sysusers.d/rigappliance.conf")
TMPFILES = Path("/etc/tmpfiles.d/rigappliance.conf")
MODULES = Path("/etc/modules-load.d/rigappliance.conf")


@dataclass(frozen=True)
class HostFile:
    """One file as it should be on the host; ``path`` is absolute there."""

    path: Path
    text: str


def host_files(
    config: RigConfig,
    config_file: Path | None = CONFIG_FILE,
    program: Path = PROGRAM,
    *,
    fetch: bool = False,
    systemd: int | None = None,
) -> tuple[HostFile, ...]:
    """The files for ``config``. Arguments and errors are those of :func:`rigappliance.render.systemd.units`."""
    rendered = units(config, config_file, program, fetch=fetch, systemd=systemd)
    files = [HostFile(UNIT_DIRECTORY / name, unit_text(name, settings)) for name, settings in rendered.items()]
    files += [HostFile(SYSUSERS, sysusers(config)), HostFile(TMPFILES, tmpfiles(config, fetch))]
    if config.memory.swap:
        files.append(HostFile(SYSCTL, sysctl(config)))
    if config.engine.device == "cuda":
        files.append(HostFile(MODULES, "# CUDA needs it, and nothing else loads it at boot.\nnvidia-uvm\n"))
    return tuple(files)


def kernel_parameters(config: RigConfig) -> dict[str, str]:
    """Name → value of the kernel's parameters for swapping to this disk."""
    return {"vm.swappiness": str(config.memory.swappiness), "vm.page-cluster": str(config.memory.page_cluster)}


def sysctl(config: RigConfig) -> str:
    lines = ["# memory.swappiness and memory.page_cluster of the configuration of rigappliance."]
    return "\n".join([*lines, *(f"{name} = {value}" for name, value in kernel_parameters(config).items())]) + "\n"


def sysusers(config: RigConfig) -> str:
    home = quoted(str(config.state_dir.absolute()))
    return f'# The user that the engine runs as.\nu {USER} - "vLLM of rigappliance" {home}\n'


def tmpfiles(config: RigConfig, fetch: bool) -> str:
    """The directories that the units need before they start."""
    state, model = config.state_dir.absolute(), config.model.path.absolute()
    directories = [state]
    if model.is_relative_to(state):
        # What lies between is made too, and would otherwise be root's.
        directories += [path for path in reversed([model, *model.parents]) if state in path.parents]
    elif fetch:
        # A checkpoint that somebody else brings keeps its owner.
        directories.append(model)
    lines = [f"d {quoted(str(path))} 0750 {USER} {USER}" for path in directories]
    return "# Where the engine keeps what it makes, and where its checkpoint lies.\n" + "\n".join(lines) + "\n"

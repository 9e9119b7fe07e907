"""What has to be so before anything is done."""

from __future__ import annotations

from pathlib import Path

from rigappliance.errors import PreflightError
from rigappliance.install.host import Host

# The first with LoadCredential= and ProtectProc=.
MINIMUM_SYSTEMD = 247


def check_root(host: Host, verb: str) -> None:
    """Raises ``PreflightError`` for anybody else."""
    if host.uid != 0:
        raise PreflightError(
            f"`rigappliance {verb}` runs as user {host.uid}",
            "root, who alone may change units, users and kernel parameters",
            f"sudo {host.program} {verb}, or look first with --dry-run",
        )


def check_plain(host: Host) -> None:
    """Raises ``PreflightError`` on NixOS, where /etc is made from the system's own configuration."""
    if host.at(Path("/etc/NIXOS")).exists():
        raise PreflightError(
            "this is NixOS, whose units come from its configuration",
            "Debian, Ubuntu or another plain distribution",
            "import nixosModules.default of the flake, and set services.rigappliance.enable",
        )


def check_running(host: Host) -> None:
    """Raises ``PreflightError`` where systemd is not the init."""
    if not host.runs_systemd:
        raise PreflightError(
            "systemd is not running here",
            f"systemd {MINIMUM_SYSTEMD} or newer as the init of this machine",
            "install on the rig itself, not in a container; --dry-run works anywhere",
        )


def check_version(host: Host) -> None:
    """Raises ``PreflightError`` where systemd is too old for the units."""
    if host.systemd is None or host.systemd < MINIMUM_SYSTEMD:
        raise PreflightError(
            f"the version of systemd is {host.systemd or 'unknown'}",
            f"{MINIMUM_SYSTEMD} or newer, which keeps the API key as a credential",
            "upgrade the distribution, to Debian 11, Ubuntu 22.04 or newer",
        )

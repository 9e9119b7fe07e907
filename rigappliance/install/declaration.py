"""What is to be installed: the configuration, and how the units are to find it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from rigappliance.config import RigConfig
from rigappliance.configfile import ENV_PREFIX, RESERVED_ENV, TEST_PREFIX, load_config
from rigappliance.errors import ConfigError, UsageError
from rigappliance.example import annotated_example
from rigappliance.install.files import content
from rigappliance.install.host import Host
from rigappliance.install.manifest import Manifest
from rigappliance.preflight.declared import check_declared
from rigappliance.render.systemd import CONFIG_FILE
from rigappliance.swapfile.declared import declared_swap


@dataclass(frozen=True)
class Request:
    """What the command line says; ``None`` leaves it to the installation that is here, or to the defaults."""

    config: Path | None = None
    profile: str | None = None
    fetch: bool | None = None
    start: bool = True


@dataclass(frozen=True)
class Declaration:
    """``profile`` is the one that was asked for; ``example``: the file is not there and will be written."""

    config: RigConfig
    file: Path
    text: str
    profile: str | None
    fetch: bool
    example: bool
    warnings: tuple[str, ...]


def declare(request: Request, host: Host, previous: Manifest | None) -> Declaration:
    """The declaration that ``request`` means. Raises ``ConfigError`` for a wrong one, whatever is wrong with it."""
    file, profile, fetch = choose(request, previous)
    text = content(host.at(file)) if file == CONFIG_FILE else None
    example = file == CONFIG_FILE and text is None
    if example and profile == "demo":
        raise UsageError(
            f"--profile demo without a configuration, and {CONFIG_FILE} is not there",
            "a file that says where the demo's checkpoint and state are",
            "name it with --config",
        )
    # The units see no variable of this shell.
    config = load_config(None if example else host.at(file), profile=profile, environ={})
    findings = check_declared(config)
    for finding in findings:
        if finding.severity == "fail":
            raise ConfigError(finding.found, finding.expected, finding.remedy)
    declared_swap(config)
    return Declaration(
        config=config,
        file=file,
        text=annotated_example() if example else host.at(file).read_text(encoding="utf-8-sig"),
        profile=profile,
        fetch=fetch,
        example=example,
        warnings=tuple(f"{f.found}; expected {f.expected}; {f.remedy}" for f in findings if f.severity == "warn"),
    )


def choose(request: Request, previous: Manifest | None) -> tuple[Path, str | None, bool]:
    """File, profile and whether to fetch: as asked, as it is installed, or by default."""
    if previous is None:
        file, profile, fetch = CONFIG_FILE, None, False
    else:
        file, profile, fetch = previous.config_file, previous.profile, previous.fetch
    if request.config is not None:
        # Without `..`, which the units would show for ever.
        file, profile = Path(os.path.normpath(request.config.absolute())), None
    return file, request.profile or profile, fetch if request.fetch is None else request.fetch


def ignored_variables() -> list[str]:
    """Variables of this shell that would mean something to a verb that is called by hand."""
    return sorted(
        name
        for name in os.environ
        if name.startswith(ENV_PREFIX) and not name.startswith(TEST_PREFIX) and name not in RESERVED_ENV
    ) + [name for name in ("RIGAPPLIANCE_PROFILE",) if os.environ.get(name)]

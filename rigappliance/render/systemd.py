"""The service of the appliance for hosts without NixOS.

:func:`unit` is the one table of what the service needs and why; :func:`render_unit`
writes it as a unit file.
"""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass
from pathlib import Path

from rigappliance.config import RigConfig
from rigappliance.configfile import absolute_paths
from rigappliance.errors import ConfigError, ExitCode
from rigappliance.profiles import PROFILES
from rigappliance.units import parse_share, parse_size

CONFIG_FILE = Path("/etc/rigappliance/rig.toml")
PROGRAM = Path("/usr/bin/rigappliance")
CREDENTIAL = "api-key"

# What starting again cannot mend.
FINAL_EXITS = (ExitCode.USAGE, ExitCode.CONFIG, ExitCode.PREFLIGHT, ExitCode.BUSY, ExitCode.ENGINE_MISSING)

# Seconds. The supervisor extends the first deadline while it sees progress, but it has to come to look first.
MINIMUM_START_S = 15 * 60
START_MARGIN_S = 60
STOP_MARGIN_S = 30
WATCHDOG_S = 300


@dataclass(frozen=True)
class Setting:
    """One line of the unit, in systemd's own syntax, and why it is there."""

    section: str
    key: str
    value: str
    why: str


def unit(config: RigConfig, config_file: Path | None = CONFIG_FILE, program: Path = PROGRAM) -> tuple[Setting, ...]:
    """The service that runs ``program`` with ``config_file``, or with ``config``'s profile alone."""
    launch = config.launch
    start_s = max(MINIMUM_START_S, math.ceil(launch.stall_timeout) + START_MARGIN_S)
    stop_s = math.ceil(launch.drain_timeout + launch.stop_timeout) + STOP_MARGIN_S
    settings = [
        Setting("Unit", "Description", f"vLLM serving {single_line(config.model.name)}", ""),
        Setting("Unit", "After", "network.target swap.target", "The weights do not fit the RAM without the swap."),
        Setting(
            "Unit",
            "RequiresMountsFor",
            " ".join(quoted(str(path.absolute())) for path in (config.state_dir, config.model.path)),
            "The checkpoint and the state may be on disks of their own.",
        ),
        Setting(
            "Unit",
            "StartLimitIntervalSec",
            "6h",
            "A failed start can take an hour on a slow disk, so count over a working day's half.",
        ),
        Setting("Unit", "StartLimitBurst", "5", ""),
        Setting("Service", "Type", "notify", "Ready means that a completion came back, not that a process runs."),
        Setting("Service", "NotifyAccess", "main", "Only the supervisor may say so, not the engine below it."),
        Setting("Service", "ExecStart", exec_start(config, config_file, program), ""),
        Setting(
            "Service",
            "TimeoutStartSec",
            f"{start_s}s",
            "The first deadline covers launch.stall_timeout; the supervisor moves it while it sees progress. "
            "Slow is fine, hung is not.",
        ),
        Setting(
            "Service",
            "TimeoutStopSec",
            f"{stop_s}s",
            "More than launch.drain_timeout and launch.stop_timeout, so that the supervisor stops the engine itself.",
        ),
        Setting(
            "Service", "WatchdogSec", f"{WATCHDOG_S}s", "Restarts a supervisor that no longer runs; wide, as it swaps."
        ),
        Setting(
            "Service",
            "KillMode",
            "mixed",
            "SIGTERM goes to the supervisor alone, which drains; what is left at the end is killed.",
        ),
        Setting("Service", "Restart", "on-failure", ""),
        Setting("Service", "RestartSec", "30s", "Time for the cards to give their memory back."),
        Setting(
            "Service",
            "RestartPreventExitStatus",
            " ".join(str(int(code)) for code in FINAL_EXITS),
            "Wrong command line, wrong configuration, unfit machine, already running, no engine: "
            "starting again mends none of them.",
        ),
        Setting(
            "Service", "SuccessExitStatus", str(int(ExitCode.INTERRUPTED)), "Stopped on request before it was ready."
        ),
        Setting(
            "Service", "MemoryMax", memory_max(config.memory.max), "The engine swaps or dies before the machine does."
        ),
        Setting("Service", "MemorySwapMax", "infinity", "Swap is where most of the weights pass through."),
        Setting(
            "Service",
            "OOMPolicy",
            "continue",
            "The supervisor names the process that was killed, then stops the rest and fails.",
        ),
        Setting(
            "Service",
            "ManagedOOMPreference",
            "omit",
            "systemd-oomd takes heavy swapping for sickness; here it is how a start looks.",
        ),
        Setting("Service", "LimitNOFILE", "65536", "A socket a request, a mapping a shard and rank."),
    ]
    settings += state_settings(config) + key_settings(config)
    settings.append(Setting("Install", "WantedBy", "multi-user.target", ""))
    return tuple(settings)


def state_settings(config: RigConfig) -> list[Setting]:
    here = Path.cwd()
    if absolute_paths(PROFILES[config.profile], here) != PROFILES[config.profile]:
        escaped = single_line(str(here)).replace("%", "%%")
        return [Setting("Service", "WorkingDirectory", escaped, "The profile has paths relative to it.")]
    if config.state_dir.parent == Path("/var/lib"):
        name = quoted(config.state_dir.name)
        return [Setting("Service", "StateDirectory", name, "Made before the first start, owned by the service's user.")]
    return []


def key_settings(config: RigConfig) -> list[Setting]:
    """The API key as a credential: the file stays readable by root alone, whatever user the service has."""
    if config.server.api_key_file is None:
        return []
    source = single_line(str(config.server.api_key_file.absolute())).replace("%", "%%")
    return [
        Setting("Service", "LoadCredential", f"{CREDENTIAL}:{source}", "The key never shows in a command line."),
        Setting(
            "Service",
            "Environment",
            f"RIGAPPLIANCE_SERVER__API_KEY_FILE=%d/{CREDENTIAL}",
            "Where systemd puts that credential.",
        ),
    ]


def exec_start(config: RigConfig, config_file: Path | None, program: Path) -> str:
    words = [str(program.absolute()), "launch"]
    if config_file is not None:
        words += ["--config", str(config_file.absolute())]
    words += ["--profile", config.profile]
    return " ".join(quoted(word).replace("$", "$$") for word in words)


def quoted(word: str) -> str:
    """``word`` as one word of a unit file, with specifiers and quotes taken literally."""
    escaped = single_line(word).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"' if any(character in escaped for character in " \t'\"\\;") else escaped


def single_line(text: str) -> str:
    """Raises ``ConfigError`` where ``text`` would end a line of the unit."""
    if "\n" in text or "\r" in text:
        raise ConfigError(f"{text!r} has a line break", "text on one line, to fit in a unit file", "change it")
    return text


def memory_max(limit: str) -> str:
    """systemd knows shares of up to two decimals, and sizes in bytes."""
    if not limit.endswith("%"):
        return str(parse_size(limit))
    return f"{parse_share(limit) * 100:.2f}".rstrip("0").rstrip(".") + "%"


def render_unit(config: RigConfig, config_file: Path | None = CONFIG_FILE, program: Path = PROGRAM) -> str:
    """The unit file, each line below the reason for it. Raises ``ConfigError`` for text that no unit can hold."""
    lines = ["# rigappliance.service, written by `rigappliance render --format systemd`."]
    section = ""
    for setting in unit(config, config_file, program):
        if setting.section != section:
            section = setting.section
            lines += ["", f"[{section}]"]
        lines += textwrap.wrap(setting.why, 100, initial_indent="# ", subsequent_indent="# ")
        lines.append(f"{setting.key}={setting.value}")
    return "\n".join(lines) + "\n"

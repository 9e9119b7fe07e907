"""The units of the appliance for hosts without NixOS.

What is in them and why is told by the tables in ``units/``; this module computes
the variables in which one configuration differs from another.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rigappliance.config import RigConfig
from rigappliance.configfile import PATH_KEYS, absolute_paths
from rigappliance.launch.state import COMPACT_FLAG
from rigappliance.profiles import PROFILES
from rigappliance.render.unitsyntax import argument, memory_max, plain, quoted, single_line
from rigappliance.render.unittable import Setting, Variables, unit_settings

CONFIG_FILE = Path("/etc/rigappliance/rig.toml")
PROGRAM = Path("/usr/bin/rigappliance")
USER = "rigappliance"
CREDENTIAL = "api-key"

STATE_ROOT = Path("/var/lib")
HOMES = (Path("/home"), Path("/root"), Path("/run/user"))

TARGET, ENGINE, SWAP, WEIGHTS, CARDS = (
    "rigappliance.target",
    "rigappliance.service",
    "rigappliance-swap.service",
    "rigappliance-weights.service",
    "rigappliance-cards.service",
)
TABLES = {TARGET: "target", ENGINE: "engine", SWAP: "swap", WEIGHTS: "weights", CARDS: "cards"}


def unit_names(config: RigConfig, *, fetch: bool = False) -> tuple[str, ...]:
    """The units that ``config`` needs, the engine first; ``fetch`` adds the download of the checkpoint."""
    names = [ENGINE, TARGET]
    if config.memory.swap:
        names.append(SWAP)
    if fetch:
        names.append(WEIGHTS)
    if config.engine.device == "cuda":
        names.append(CARDS)
    return tuple(names)


def units(
    config: RigConfig,
    config_file: Path | None = CONFIG_FILE,
    program: Path = PROGRAM,
    *,
    fetch: bool = False,
    systemd: int | None = None,
) -> dict[str, tuple[Setting, ...]]:
    """Each unit's settings by its name, for ``program`` run with ``config_file``, or with the profile alone.

    ``systemd`` is the version that will read them, ``None`` the newest.  Raises
    ``ConfigError`` for text that no unit can hold.
    """
    names = unit_names(config, fetch=fetch)
    filled = variables(config, config_file, program, [name for name in names if name not in (ENGINE, TARGET)])
    return {name: unit_settings(TABLES[name], filled, systemd) for name in names}


def variables(config: RigConfig, config_file: Path | None, program: Path, needs: list[str]) -> Variables:
    """The values of all placeholders in ``units/``, in systemd's syntax."""
    state, model = config.state_dir.absolute(), config.model.path.absolute()
    below_state_root = state.parent == STATE_ROOT
    key = config.server.api_key_file
    # An environment as a whole: the interpreter alone would find no library.
    environments = [config.engine.python.absolute().parent.parent, program.absolute().parent.parent]
    needed = [model, *environments, *([config_file.absolute()] if config_file else [])]
    hidden = [path for path in dict.fromkeys(needed) if in_home(path) and not path.is_relative_to(state)]
    return {
        "model_name": plain(config.model.name),
        "repository": plain(config.model.repository),
        "needs": " ".join(needs) or None,
        "paths": " ".join(quoted(str(path)) for path in (state, model)),
        "program": argument(str(program.absolute())),
        "arguments": " ".join(argument(word) for word in arguments(config, config_file)),
        "compact_flag": argument(str(state / COMPACT_FLAG)),
        "systemctl": "/usr/bin/systemctl",
        "user": USER,
        "memory_max": memory_max(config.memory.max),
        "state_directory": quoted(state.name) if below_state_root else None,
        "working_directory": plain(str(working_directory(config))),
        "home_environment": quoted(f"HOME={state}"),
        "writable_paths": None if below_state_root else quoted(str(state)),
        "model_writable": None if model.is_relative_to(state) else quoted(str(model)),
        "protect_home": "tmpfs" if hidden or in_home(state) else "yes",
        "home_read_only": " ".join(quoted(str(path)) for path in hidden) or None,
        "home_state": quoted(str(state)) if in_home(state) else None,
        "home_model": quoted(str(model)) if model in hidden else None,
        # The source is a path that systemd takes as it is, up to the end of the line.
        "key_credential": f"{CREDENTIAL}:{plain(str(key.absolute()))}" if key else None,
        "key_environment": f"RIGAPPLIANCE_SERVER__API_KEY_FILE=%d/{CREDENTIAL}" if key else None,
        "swap_file": plain(str(config.memory.swap_file.absolute())),
        "swap_directory": quoted(str(config.memory.swap_file.absolute().parent)),
    }


def in_home(path: Path) -> bool:
    """Whether ``ProtectHome`` would hide ``path``."""
    return any(path.is_relative_to(place) for place in HOMES)


def working_directory(config: RigConfig) -> Path:
    """Where the paths of the configuration mean what they mean here."""
    here, tree = Path.cwd(), config.model_dump(mode="json")
    profile = absolute_paths(PROFILES[config.profile], here)
    # Only a profile's paths are taken from wherever one is, and only those that the file did not set.
    for key, *rest in PATH_KEYS:
        relative, absolute, declared = (look_up(each, key, *rest) for each in (PROFILES[config.profile], profile, tree))
        if relative != absolute and declared == absolute:
            return here
    return config.state_dir.absolute()


def look_up(tree: Mapping[str, Any], *keys: str) -> Any:
    """What is at the end of ``keys``, or None."""
    value: Any = tree
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def arguments(config: RigConfig, config_file: Path | None) -> list[str]:
    """The options by which every verb finds this configuration again."""
    named = ["--config", str(config_file.absolute())] if config_file else []
    return [*named, "--profile", config.profile]


def unit_text(name: str, settings: tuple[Setting, ...]) -> str:
    """The unit file, each line below the reason for it."""
    lines = [f"# {name}, written by rigappliance."]
    section = ""
    for setting in settings:
        if setting.section != section:
            section = setting.section
            lines += ["", f"[{section}]"]
        lines += textwrap.wrap(setting.why, 100, initial_indent="# ", subsequent_indent="# ")
        lines.append(f"{setting.key}={single_line(setting.value)}")
    return "\n".join(lines) + "\n"

"""From a declaration to the engine's command line and environment.

What becomes of every key of the sections ``model``, ``engine`` and ``server`` is
declared in one table, :data:`OUTCOMES`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rigappliance.config import RigConfig
from rigappliance.errors import ConfigError
from rigappliance.loader import provide
from rigappliance.plan import tuning
from rigappliance.plan.capture import OPTION, recommended
from rigappliance.render.options import arguments, check_variable, find_option, long_name, table

MODULE = "vllm.entrypoints.openai.api_server"
# Run by the engine's interpreter, so it is named by its file.
ENTRY = Path(__file__).resolve().parent.parent / "enginestart" / "entry.py"


# What the supervisor and monitoring ask again and again.
PROBED = "/health,/metrics,/ping"


@dataclass(frozen=True)
class Notice:
    """Something that was declared and that the engine will not get, and why."""

    key: str
    text: str

    def __str__(self) -> str:
        return f"{self.key} {self.text}"


@dataclass(frozen=True)
class EngineCommand:
    """What to execute. ``environment`` is added to the inherited one.

    ``secrets`` maps further variables to the files that hold their values, which
    are read only when the engine is started.
    """

    argv: tuple[str, ...]
    environment: dict[str, str]
    notices: tuple[Notice, ...]
    secrets: dict[str, Path]


@dataclass(frozen=True)
class Outcome:
    """What becomes of one key.

    ``how`` is where it goes: an option of the engine named ``name``, environment
    variables of that name (several are separated by spaces), a secret variable,
    the program that is run, nowhere (``why`` says so in a notice), or only to the
    supervisor.  An option goes to the ``devices`` alone; elsewhere the key is
    dropped with the notice ``why``.
    """

    how: Literal["option", "variable", "secret", "program", "merged", "dropped", "supervisor"]
    name: str = ""
    convert: Callable[[Any], Any] = lambda value: value
    devices: tuple[str, ...] = ("cuda", "cpu")
    why: str = ""


def absolute(path: Path) -> str:
    """Symbolic links are kept: a virtual environment's interpreter is one."""
    return str(path.absolute())


def only_true(value: bool) -> bool | None:
    """A switch whose default is off is left out rather than switched off."""
    return value or None


def unless_logged(value: bool) -> str | None:
    return None if value else PROBED


def switch(value: bool) -> str | None:
    return "1" if value else None


def whole_seconds(value: float) -> int:
    """Rounded up, because a limit that is too short kills what it should only bound."""
    return math.ceil(value)


def at_least_one_second(value: float) -> str:
    return str(max(1, whole_seconds(value)))


# In the order of the command line.
OUTCOMES: dict[str, Outcome] = {
    "engine.python": Outcome("program"),
    "engine.entrypoint": Outcome("program"),
    "engine.start": Outcome("program"),
    "model.path": Outcome("program"),
    "model.name": Outcome("option", "served-model-name", lambda name: [name]),
    "model.trust_remote_code": Outcome("option", "trust-remote-code", only_true),
    # Whence the checkpoint was brought says nothing to the engine, which gets a directory.
    "model.repository": Outcome("supervisor"),
    "model.revision": Outcome("supervisor"),
    "server.host": Outcome("option", "host"),
    "server.port": Outcome("option", "port"),
    "server.api_key_file": Outcome("secret", "VLLM_API_KEY"),
    "server.log_probes": Outcome("option", "disable-access-log-for-endpoints", unless_logged),
    # The CPU build and the CUDA build each know one device, so there is no option for it.
    "engine.device": Outcome("supervisor"),
    "engine.tensor_parallel": Outcome("option", "tensor-parallel-size"),
    "engine.pipeline_parallel": Outcome("option", "pipeline-parallel-size"),
    "engine.gpu_memory_utilization": Outcome(
        "option",
        "gpu-memory-utilization",
        devices=("cuda",),
        why="is not passed on: on a CPU vLLM takes it as a share of the RAM to reserve; "
        "engine.kv_cache_memory sizes the KV cache",
    ),
    "engine.kv_cache_memory": Outcome("option", "kv-cache-memory-bytes"),
    "engine.kv_cache_dtype": Outcome("option", "kv-cache-dtype"),
    "engine.max_model_len": Outcome("option", "max-model-len"),
    "engine.max_num_seqs": Outcome("option", "max-num-seqs"),
    "engine.max_num_batched_tokens": Outcome("option", "max-num-batched-tokens"),
    "engine.dtype": Outcome("option", "dtype"),
    "engine.quantization": Outcome("option", "quantization"),
    "engine.load_format": Outcome("option", "load-format"),
    "engine.optimization_level": Outcome("option", "optimization-level", str),
    "engine.enforce_eager": Outcome("option", "enforce-eager", only_true),
    "engine.swap_space": Outcome(
        "dropped",
        why="is not passed on: vLLM 0.18 removed --swap-space, its engine recomputes instead; "
        "the swap of the machine is memory.swap",
    ),
    "engine.offline": Outcome("variable", "HF_HUB_OFFLINE TRANSFORMERS_OFFLINE", switch),
    "engine.step_timeout": Outcome("variable", "VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS", at_least_one_second),
    "engine.options": Outcome("merged"),
    "engine.environment": Outcome("merged"),
    # The supervisor drains too; the engine must not cut it short.
    "launch.drain_timeout": Outcome("option", "shutdown-timeout", whole_seconds),
}
SECTIONS = ("model", "engine", "server")

# Directory below state_dir/cache → the variable that puts a cache there. XDG_CACHE_HOME and HF_HOME catch the rest,
# so that nothing is written to a home directory that a service may not have.
CACHES: dict[str, str] = {
    "vllm": "VLLM_CACHE_ROOT",
    "inductor": "TORCHINDUCTOR_CACHE_DIR",
    "triton": "TRITON_CACHE_DIR",
    "cuda": "CUDA_CACHE_PATH",
    "flashinfer": "FLASHINFER_WORKSPACE_BASE",
    "huggingface": "HF_HOME",
    "xdg": "XDG_CACHE_HOME",
}
FIXED_ENVIRONMENT: dict[str, str] = {
    # A day: the supervisor knows whether a start makes progress, the engine only knows how long it takes.
    "VLLM_ENGINE_READY_TIMEOUT_S": "86400",
    # An appliance does not report its use to anybody.
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
}
DEVICE_ENVIRONMENT: dict[str, dict[str, str]] = {
    "cuda": {},
    # On a CPU the engine (0.32.0) cannot load the model that it compiled and saved whole, since its platform compiles
    # by plain Inductor (compilation/decorators.py, finalize_loading): each start would compile it once more beside the
    # attempt. Without, Inductor's own caches serve: a second start compiles for 3 s instead of 8.
    "cpu": {"VLLM_USE_AOT_COMPILE": "0"},
}
# Variables that a typed key sets, and those that would override one behind its back.
COVERED_VARIABLES: dict[str, str] = {
    variable: key
    for key, outcome in OUTCOMES.items()
    if outcome.how in ("variable", "secret")
    for variable in outcome.name.split()
} | {"VLLM_CPU_KVCACHE_SPACE": "engine.kv_cache_memory"}
COVERED_OPTIONS: dict[str, str] = {
    outcome.name: key for key, outcome in OUTCOMES.items() if outcome.how == "option"
} | {"model": "model.path", "api-key": "server.api_key_file"}


def render(config: RigConfig) -> EngineCommand:
    """The engine's command for ``config``, without looking at the machine.

    Raises ``ConfigError`` for options or variables that the pinned engine does not take.
    """
    argv = program(config)
    environment = {variable: absolute(config.state_dir / "cache" / name) for name, variable in CACHES.items()}
    environment |= FIXED_ENVIRONMENT | DEVICE_ENVIRONMENT[config.engine.device]
    secrets: dict[str, Path] = {}
    for key, outcome in OUTCOMES.items():
        value = declared_value(config, key)
        if value is None or config.engine.device not in outcome.devices:
            continue
        converted = outcome.convert(value)
        if converted is None:
            continue
        if outcome.how == "option":
            argv += arguments(table().options[outcome.name], converted, key)
        elif outcome.how == "variable":
            environment |= dict.fromkeys(outcome.name.split(), converted)
        elif outcome.how == "secret":
            secrets[outcome.name] = Path(absolute(value))
    if sizes := recommended(config):
        argv += arguments(table().options[OPTION], list(sizes), "engine.max_num_seqs")
    if settings := tuning.recommended(config):
        argv += arguments(table().options[tuning.OPTION], settings, "engine.optimization_level")
    argv += option_arguments(config)
    environment |= checked_environment(config)
    environment |= loader_environment(config)
    check_text([*argv, *environment.values(), *map(str, secrets.values())])
    return EngineCommand(tuple(argv), dict(sorted(environment.items())), tuple(notices(config)), secrets)


def declared_value(config: RigConfig, key: str) -> Any:
    section, name = key.split(".")
    return getattr(getattr(config, section), name)


def program(config: RigConfig) -> list[str]:
    """The entry point and the model, which `vllm serve` takes as its positional argument."""
    python = config.engine.python.absolute()
    model = absolute(config.model.path)
    arguments = ["serve", model] if config.engine.entrypoint == "serve" else ["-m", MODULE, "--model", model]
    if config.engine.start == "shared":
        return [str(python), str(ENTRY), *arguments]
    return [str(python.parent / "vllm") if config.engine.entrypoint == "serve" else str(python), *arguments]


def loader_directory(config: RigConfig) -> Path | None:
    """Where the launch puts the load format `sequential` for the engine's interpreter; None where it is not used."""
    if config.engine.load_format != provide.LOAD_FORMAT:
        return None
    return provide.place_of(config.state_dir.absolute() / "plugins")


def loader_environment(config: RigConfig) -> dict[str, str]:
    directory = loader_directory(config)
    return provide.environment(directory, config.engine.environment) if directory else {}


def option_arguments(config: RigConfig) -> list[str]:
    """The arguments that engine.options adds."""
    result: list[str] = []
    seen: dict[str, str] = {}
    for key, value in config.engine.options.items():
        option = find_option(key, COVERED_OPTIONS)
        if option.name in seen:
            raise ConfigError(
                f"engine.options has both {seen[option.name]!r} and {key!r}",
                "each option once",
                f"remove one; both are --{option.name}",
            )
        seen[option.name] = key
        result += arguments(option, value, f"engine.options.{long_name(key)}")
    return result


def checked_environment(config: RigConfig) -> dict[str, str]:
    """engine.environment. Raises ``ConfigError`` for a name that the engine would not read or that a key sets."""
    for name in config.engine.environment:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise ConfigError(
                f"engine.environment has the name {name!r}", "letters, digits and underscores", "rename it"
            )
        if name in COVERED_VARIABLES:
            key = COVERED_VARIABLES[name]
            raise ConfigError(
                f"engine.environment sets {name}, which {key} sets",
                "one declaration of each value",
                f"set {key} instead",
            )
        check_variable(name)
    return config.engine.environment


def notices(config: RigConfig) -> Iterator[Notice]:
    """What is declared and not passed on."""
    for key, outcome in OUTCOMES.items():
        dropped = outcome.how == "dropped" or config.engine.device not in outcome.devices
        if dropped and declared_value(config, key) is not None and is_declared(config, key):
            yield Notice(key, outcome.why)
    if config.engine.device == "cpu" and config.engine.kv_cache_memory is None:
        yield Notice("engine.kv_cache_memory", "is not set: on a CPU vLLM then reserves 92 % of the RAM")


def is_declared(config: RigConfig, key: str) -> bool:
    """Whether the operator or the profile set ``key``; the rig profile's values are the defaults themselves."""
    section, name = key.split(".")
    return config.profile == "rig" or name in getattr(config, section).model_fields_set


def check_text(texts: list[str]) -> None:
    """Raises ``ConfigError`` for text that no command line and no environment can hold."""
    for text in texts:
        try:
            encoded = text.encode()
        except UnicodeEncodeError:
            encoded = b"\0"
        if b"\0" in encoded:
            raise ConfigError(f"{text!r} is declared", "text without null characters and lone surrogates", "change it")

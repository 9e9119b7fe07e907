"""What the pinned engine's command line takes, and how a declared value becomes arguments of it.

The table beside this file is written by ``tools/engine_options``, which asks the
engine's own parser.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal

from rigappliance import ENGINE_VERSION
from rigappliance.config import OptionValue
from rigappliance.configfile import nearest
from rigappliance.errors import ConfigError
from rigappliance.render.removed import REMOVED, REMOVED_ENVIRONMENT

# Options that exist and that no declaration may set, because the rest of the appliance could not follow.
RESERVED: dict[str, str] = {
    "config": "declare the options here; checks and plans do not see a second file",
    "grpc": "remove it; readiness is proved over HTTP",
    "headless": "remove it; a server without an API can never be proved ready",
    "help": "remove it",
    "hf-token": "set HF_TOKEN in the environment of the service; a command line is readable by every user",
    "ssl-certfile": "remove it; readiness is proved over plain HTTP, so let a reverse proxy speak TLS",
    "ssl-keyfile": "remove it; readiness is proved over plain HTTP, so let a reverse proxy speak TLS",
    "uds": "set server.host and server.port; with a socket the engine ignores both",
}


@dataclass(frozen=True)
class Option:
    """One long option of the engine. ``type`` is of its value, or of a list's elements."""

    name: str
    dest: str
    kind: Literal["flag", "boolean", "value", "list", "json"]
    type: Literal["int", "float", "str", "count"] = "str"
    shape: Literal["object", "array", "object or text"] = "object"
    choices: tuple[str | int, ...] = ()
    aliases: tuple[str, ...] = ()
    fold: bool = False
    repeat: bool = False


@dataclass(frozen=True)
class Table:
    """All options by long name, other spellings of them, and the VLLM_* variables that the engine reads."""

    options: dict[str, Option]
    aliases: dict[str, str]
    environment: frozenset[str]


@cache
def table() -> Table:
    """The committed table of the pinned engine, read once."""
    path = resources.files("rigappliance.render") / f"options-{ENGINE_VERSION}.json"
    tree = json.loads(path.read_text(encoding="utf-8"))
    options = {name: Option(name=name, **with_tuples(entry)) for name, entry in tree["options"].items()}
    aliases = {alias.lstrip("-"): option.name for option in options.values() for alias in option.aliases}
    return Table(options, aliases, frozenset(tree["environment"]))


def with_tuples(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}


def long_name(key: str) -> str:
    """``--Max_x``, ``max_x`` and ``tp`` as the engine's long name, without dashes in front."""
    name = key.strip().lstrip("-").replace("_", "-")
    return table().aliases.get(name, name)


def find_option(key: str, covered: dict[str, str]) -> Option:
    """The option that ``key`` of engine.options names.

    ``covered`` maps long names to the typed key that sets them.  Raises
    ``ConfigError`` for a removed, reserved, covered, negated or unknown name.
    """
    name = long_name(key)
    options = table().options
    found = f"engine.options has {key!r}"
    if name in covered:
        raise ConfigError(
            f"{found}, which {covered[name]} sets", "one declaration of each value", f"set {covered[name]} instead"
        )
    if name in RESERVED:
        raise ConfigError(found, "an option that leaves the appliance in charge", RESERVED[name])
    if name in options:
        return options[name]
    if name in REMOVED:
        raise ConfigError(f"{found}, which vLLM {ENGINE_VERSION} no longer has", "a current option", REMOVED[name])
    if name.startswith("no-") and name.removeprefix("no-") in options:
        raise ConfigError(found, "the option without 'no-'", f"write {name.removeprefix('no-')} = false")
    if name.split(".")[0] in options:
        whole, _, part = name.partition(".")
        raise ConfigError(found, "one key for the whole option", f"write {whole} = {{ {part} = ... }}")
    near = nearest(name, options)
    remedy = f"did you mean {near!r}?" if near else "remove it, or see `vllm serve --help=all`"
    raise ConfigError(
        f"{found}, which vLLM {ENGINE_VERSION} does not know", f"an option of vLLM {ENGINE_VERSION}", remedy
    )


def check_variable(name: str) -> None:
    """Raises ``ConfigError`` for a VLLM_* variable that the engine would not read."""
    known = table().environment
    if not name.startswith("VLLM_") or name in known:
        return
    if name in REMOVED_ENVIRONMENT:
        remedy = REMOVED_ENVIRONMENT[name]
    else:
        near = nearest(name, known)
        remedy = f"did you mean {near!r}?" if near else "remove it"
    raise ConfigError(
        f"engine.environment sets {name}, which vLLM {ENGINE_VERSION} does not read",
        "a variable that the engine reads",
        remedy,
    )


def arguments(option: Option, value: OptionValue, key: str) -> list[str]:
    """The arguments that give ``option`` its ``value``, which the configuration holds under ``key``.

    Raises ``ConfigError`` for a value of another kind.
    """
    flag = f"--{option.name}"
    if option.kind == "flag":
        if value is True:
            return [flag]
        raise mismatch(key, value, "true, since the option can only be switched on", f"remove {key}, or set it to true")
    if option.kind == "boolean":
        if isinstance(value, bool):
            return [flag if value else f"--no-{option.name}"]
        raise mismatch(key, value, "true or false")
    if option.kind == "json":
        return joined(flag, json_text(option, value, key))
    if option.kind == "list":
        if not isinstance(value, list) or not value:
            raise mismatch(key, value, "a list of at least one element", f"write {key} = [...]")
        texts = [scalar_text(option, element, key) for element in value]
        if option.repeat:
            return [argument for text in texts for argument in joined(flag, text)]
        if len(texts) == 1:
            return joined(flag, texts[0])
        # A second element that starts with a dash would be read as an option.
        dashed = [text for text in texts if text.startswith("-")]
        if dashed:
            raise mismatch(key, value, f"elements that do not start with a dash, unlike {dashed[0]!r}")
        return [flag, *texts]
    if isinstance(value, list | dict):
        raise mismatch(key, value, f"a single {SCALARS[option.type]}")
    return joined(flag, scalar_text(option, value, key))


SCALARS = {"int": "whole number", "float": "number", "str": "string", "count": "whole number, or a text such as '8k'"}


def scalar_text(option: Option, value: object, key: str) -> str:
    """One value as the engine's converter takes it."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    fits = {
        "int": number and isinstance(value, int),
        "float": number,
        "str": isinstance(value, str),
        "count": isinstance(value, str) or (number and isinstance(value, int)),
    }[option.type]
    if not fits:
        raise mismatch(key, value, f"a {SCALARS[option.type]}")
    if option.choices:
        folded = value.lower().replace("-", "_") if option.fold and isinstance(value, str) else value
        if folded not in option.choices:
            near = nearest(str(value), [str(choice) for choice in option.choices])
            raise mismatch(
                key,
                value,
                f"one of {', '.join(str(choice) for choice in option.choices)}",
                f"did you mean {near!r}?" if near else f"set {key} to one of them",
            )
    return repr(value) if isinstance(value, float) else str(value)


def json_text(option: Option, value: OptionValue, key: str) -> str:
    """A table, a list or JSON text as JSON text of the shape that the option takes."""
    wanted = {"object": dict, "array": list, "object or text": dict}[option.shape]
    if isinstance(value, str):
        if option.shape == "object or text" and not value.lstrip().startswith("{"):
            return value
        try:
            parsed = json.loads(value)
        except ValueError:
            parsed = None
        if isinstance(parsed, wanted):
            return value
    elif isinstance(value, wanted):
        try:
            return json.dumps(value, allow_nan=False)
        except (TypeError, ValueError):
            pass  # a date, or a number that JSON cannot hold
    expected = {
        "object": "a table of values that JSON can hold",
        "array": "a list",
        "object or text": "a table of values that JSON can hold, or a string",
    }[option.shape]
    raise mismatch(key, value, expected)


def joined(flag: str, text: str) -> list[str]:
    """Option and value apart, except where the value looks like an option itself."""
    return [f"{flag}={text}"] if text.startswith("-") else [flag, text]


def mismatch(key: str, value: object, expected: str, remedy: str = "") -> ConfigError:
    return ConfigError(f"{key} is {value!r}", expected, remedy or f"set {key} to {expected}")

"""From a file, a profile and the environment to a :class:`RigConfig`.

Later wins: defaults, profile, file, environment.  Every mistake becomes one
:class:`ConfigError` that names the key, what it holds and what it should hold.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from rigappliance.config import ContradictionError, RigConfig
from rigappliance.errors import ConfigError
from rigappliance.profiles import PROFILES

ENV_PREFIX = "RIGAPPLIANCE_"
# Read by the command line and by the supervisor, not part of the configuration.
RESERVED_ENV = frozenset({"RIGAPPLIANCE_API_KEY", "RIGAPPLIANCE_CONFIG", "RIGAPPLIANCE_PROFILE", "RIGAPPLIANCE_RUN_ID"})
# Variables for the tests of this program, which an engine test hands on to it.
TEST_PREFIX = "RIGAPPLIANCE_TEST_"
SHOWN_LENGTH = 100

Tree = dict[str, Any]


def load_config(
    path: Path | None = None,
    *,
    profile: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> RigConfig:
    """The configuration that ``path`` and ``environ`` (default: ``os.environ``) declare.

    Relative paths in a file are relative to that file.  Raises ``ConfigError``.
    """
    environ = os.environ if environ is None else environ
    declared = read_file(path) if path else {}
    chosen = choose_profile(profile, environ, declared, path)
    declared = merge(declared, from_environment(environ))
    base = absolute_paths(PROFILES[chosen], Path.cwd())
    tree = merge(base, {**declared, "profile": chosen})
    source = str(path) if path else "the environment" if declared else f"profile {chosen}"
    return validate(tree, source, environ)


def choose_profile(profile: str | None, environ: Mapping[str, str], declared: Tree, path: Path | None) -> str:
    """The profile's name: the argument's, the environment's, or the file's. Raises ``ConfigError``."""
    chosen: object = "rig"
    origin, place = "", "--profile"
    if profile is not None:
        chosen = profile
    elif environ.get("RIGAPPLIANCE_PROFILE"):
        chosen, place = environ["RIGAPPLIANCE_PROFILE"], "RIGAPPLIANCE_PROFILE"
        origin = f"environment variable {place}: "
    elif "profile" in declared:
        chosen, origin, place = declared["profile"], f"{path}: ", "profile"
    if isinstance(chosen, str) and chosen in PROFILES:
        return chosen
    near = nearest(str(chosen), PROFILES)
    raise ConfigError(
        f"{origin}unknown profile {chosen!r}",
        " or ".join(PROFILES),
        f"did you mean {near!r}?" if near else f"set {place} to one of them",
    )


def read_file(path: Path) -> Tree:
    """The tree in a TOML or JSON file, told apart by its suffix. Raises ``ConfigError``."""
    try:
        # Some editors begin a file with a byte order mark, which neither parser takes.
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(
            f"cannot read configuration {path}: {reason}",
            "a TOML or JSON file",
            "name an existing file with --config, or write one with `rigappliance schema --example > rig.toml`",
        ) from error
    kind = "JSON" if path.suffix.lower() == ".json" else "TOML"
    try:
        tree = json.loads(text) if kind == "JSON" else tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"{path} is not valid {kind}: {syntax_mistake(error, text)}", f"{kind} text", "mend it there"
        ) from error
    if not isinstance(tree, dict):
        raise ConfigError(
            f"{path} holds a {type(tree).__name__}", "an object with sections", "see `rigappliance schema`"
        )
    return absolute_paths(tree, path.resolve().parent)


def syntax_mistake(error: Exception, text: str) -> str:
    """What the parser says, always with a line."""
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    last = len(text.splitlines()) or 1
    return str(error).replace("at end of document", f"at line {last}, the end of the document")


PATH_KEYS = (
    ("state_dir",),
    ("model", "path"),
    ("engine", "python"),
    ("server", "api_key_file"),
    ("memory", "swap_file"),
)


def absolute_paths(tree: Tree, base: Path) -> Tree:
    """``tree`` with its relative paths taken from ``base``, so that a file means the same from any directory."""
    result = dict(tree)
    for key, *rest in PATH_KEYS:
        value = result.get(key)
        if rest:
            if isinstance(value, dict) and isinstance(value.get(rest[0]), str) and value[rest[0]]:
                result[key] = {**value, rest[0]: str(base / value[rest[0]])}
        elif isinstance(value, str) and value:
            result[key] = str(base / value)
    return result


def from_environment(environ: Mapping[str, str]) -> Tree:
    """``RIGAPPLIANCE_ENGINE__MAX_MODEL_LEN=2048`` as ``{"engine": {"max_model_len": 2048}}``."""
    tree: Tree = {}
    for variable, text in sorted(environ.items()):
        if not variable.startswith(ENV_PREFIX) or variable.startswith(TEST_PREFIX) or variable in RESERVED_ENV:
            continue
        keys = variable.removeprefix(ENV_PREFIX).lower().split("__")
        check_known(keys, f"environment variable {variable}", variable_of)
        # Engine variables are case-sensitive and upper-case by convention.
        if keys[:2] == ["engine", "environment"] and len(keys) >= 3:
            keys = [*keys[:2], variable.split("__", 2)[2]]
            value: object = text
        else:
            value = scalar(text)
        branch = tree
        for depth, key in enumerate(keys[:-1], start=1):
            branch = branch.setdefault(key, {})
            if not isinstance(branch, dict):
                whole = variable_of(".".join(keys[:depth]))
                raise ConfigError(
                    f"environment variables {whole} and {variable} are both set",
                    "one declaration of each value",
                    f"unset {whole}, or put all of it there as JSON",
                )
        branch[keys[-1]] = value
    return tree


def variable_of(key: str) -> str:
    """The environment variable that sets ``key``, which is dotted."""
    return ENV_PREFIX + key.replace(".", "__").upper()


def scalar(text: str) -> object:
    """A variable's text as the type that it looks like: JSON where it is JSON, a string otherwise."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def check_known(keys: list[str], where: str, spell: Callable[[str], str] = repr) -> None:
    """Raises ``ConfigError`` for the first of ``keys`` that no section has; ``spell`` writes the nearest known one."""
    model: type[BaseModel] | None = RigConfig
    for depth, key in enumerate(keys):
        if model is None:
            return
        if key not in model.model_fields:
            known = sorted(model.model_fields)
            raise ConfigError(
                f"{where}: unknown key {'.'.join(keys[: depth + 1])!r}",
                f"one of {', '.join(known)}",
                suggestion(keys[: depth + 1], spell),
            )
        model = section_model(model.model_fields[key].annotation)


def section_model(annotation: object) -> type[BaseModel] | None:
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def known_keys() -> list[str]:
    """Every key, dotted, the sections themselves among them."""
    result = []
    for name, field in RigConfig.model_fields.items():
        model = section_model(field.annotation)
        result += [name, *(f"{name}.{key}" for key in (model.model_fields if model else ()))]
    return result


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> Tree:
    """``base`` with ``over`` laid on top, sections merged key by key."""
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        result[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


def nearest(word: str, known: Any) -> str | None:
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return matches[0] if matches else None


def suggestion(keys: list[str], spell: Callable[[str], str]) -> str:
    """Keys are often put into the wrong section, so that all of them are compared by their last part."""

    def likeness(known: str) -> float:
        section, _, name = known.rpartition(".")
        by_name = difflib.SequenceMatcher(None, keys[-1], name).ratio()
        if len(keys) == 1:
            return max(by_name, difflib.SequenceMatcher(None, keys[0], known.replace(".", "_")).ratio())
        # Of two that look alike, the one of the same section.
        return by_name + (0.1 if section == keys[0] else 0.0)

    best = max(known_keys(), key=likeness)
    return f"did you mean {spell(best)}?" if likeness(best) >= 0.7 else "remove it, or see `rigappliance schema`"


def validate(tree: Tree, source: str, environ: Mapping[str, str] | None = None) -> RigConfig:
    """Raises ``ConfigError`` about the first mistake in ``tree``, which came from ``source`` and from ``environ``."""
    try:
        return RigConfig.model_validate(tree)
    except ValidationError as error:
        raise config_error(error, tree, source, environ or {}) from error


def config_error(error: ValidationError, tree: Tree, source: str, environ: Mapping[str, str]) -> ConfigError:
    """The first mistake as one sentence; unknown keys first, since they are often the cause of the rest."""
    mistakes = sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    first = mistakes[0]
    location = [str(part) for part in first["loc"]]
    key, value = located(location, tree)
    # A value that fits no member of a union is a mistake a member.
    others = len({located([str(part) for part in mistake["loc"]], tree)[0] for mistake in mistakes}) - 1
    more = f" (and {others} more)" if others else ""
    if first["type"] == "extra_forbidden":
        try:
            check_known(location, source)
        except ConfigError as unknown:
            return ConfigError(unknown.found + more, unknown.expected, unknown.remedy)
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, ContradictionError):
        return ConfigError(f"{source}: {cause.found}{more}", cause.expected, cause.remedy)
    variable = variable_of(key)
    if variable in environ:
        source = f"environment variable {variable}"
    near = nearest(str(value), choices(first))
    return ConfigError(
        f"{source}: {key} is {shown(value)}{more}",
        expectation(key, first),
        f"did you mean {near!r}?" if near else f"correct {variable if variable in environ else key}",
    )


def shown(value: object) -> str:
    """As much of a value as helps to find it."""
    text = repr(value)
    return text if len(text) <= SHOWN_LENGTH else f"{text[:SHOWN_LENGTH]}…"


def choices(mistake: ErrorDetails) -> list[str]:
    """The words that the key takes; none where it takes anything else."""
    words = mistake.get("ctx", {}).get("expected", "") if mistake["type"] == "literal_error" else ""
    return re.findall(r"'([^']*)'", str(words))


def expectation(key: str, mistake: ErrorDetails) -> str:
    """What ``key`` takes, in the words of the configuration's language and not of Python's."""
    context = mistake.get("ctx", {})
    if key in EXPECTATIONS:
        return EXPECTATIONS[key]
    if key.startswith("engine.options."):
        return "true or false, a number, a string, a list of strings or whole numbers, or a table"
    if "error" in context:
        return str(context["error"])
    if mistake["type"] in EXPECTATIONS_BY_TYPE:
        return EXPECTATIONS_BY_TYPE[mistake["type"]].format(**context)
    return f"{mistake['msg'][:1].lower()}{mistake['msg'][1:]}"


def located(location: list[str], tree: Tree) -> tuple[str, object]:
    """The longest part of ``location`` that exists in ``tree``, dotted, and its value."""
    keys: list[str] = []
    value: object = tree
    for part in location:
        if not isinstance(value, dict) or part not in value:
            break
        keys.append(part)
        value = value[part]
    return ".".join(keys), value


# Where pydantic's own words would not tell the operator what to write.
EXPECTATIONS: dict[str, str] = {
    "launch.log_size": "a size of 1MiB or more, with its unit",
    "engine.gpu_memory_utilization": "a number above 0 and up to 1, such as 0.85",
    "server.port": "a TCP port from 1 to 65535, such as 8000",
    "engine.optimization_level": "a whole number from 0 to 3",
    "engine.environment": 'a table of strings, such as { OMP_NUM_THREADS = "1" }',
}
EXPECTATIONS_BY_TYPE: dict[str, str] = {
    "bool_type": "true or false",
    "dict_type": "a table",
    "float_type": "a number",
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "{ge} or more",
    "int_type": "a whole number",
    "less_than_equal": "{le} or less",
    "literal_error": "{expected}",
    "model_type": "a section, which is a table of keys",
    "path_type": "a path",
    "string_type": "a string",
}

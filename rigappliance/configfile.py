"""From a file, a profile and the environment to a :class:`RigConfig`.

Later wins: defaults, profile, file, environment.  Every mistake becomes one
:class:`ConfigError` that names the key, what it holds and what it should hold.
"""

from __future__ import annotations

import difflib
import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from rigappliance.config import RigConfig
from rigappliance.errors import ConfigError
from rigappliance.profiles import PROFILES

ENV_PREFIX = "RIGAPPLIANCE_"
# Read by the command line and by the supervisor, not part of the configuration.
RESERVED_ENV = frozenset({"RIGAPPLIANCE_API_KEY", "RIGAPPLIANCE_CONFIG", "RIGAPPLIANCE_PROFILE", "RIGAPPLIANCE_RUN_ID"})
# Variables for the tests of this program, which an engine test hands on to it.
TEST_PREFIX = "RIGAPPLIANCE_TEST_"

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
    declared = merge(declared, from_environment(environ))
    chosen = profile or environ.get("RIGAPPLIANCE_PROFILE") or declared.get("profile") or "rig"
    if not isinstance(chosen, str) or chosen not in PROFILES:
        raise ConfigError(
            f"unknown profile {chosen!r}",
            " or ".join(PROFILES),
            f'set profile = "{nearest(str(chosen), PROFILES) or "rig"}"',
        )
    base = absolute_paths(PROFILES[chosen], Path.cwd())
    tree = merge(base, {**declared, "profile": chosen})
    return validate(tree, str(path) if path else "the environment" if declared else f"profile {chosen}")


def read_file(path: Path) -> Tree:
    """The tree in a TOML or JSON file, told apart by its suffix. Raises ``ConfigError``."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(
            f"cannot read configuration {path}: {reason}",
            "a TOML or JSON file",
            "name an existing file with --config, or write one with `rigappliance schema --example > rig.toml`",
        ) from error
    try:
        tree = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except ValueError as error:
        kind = "JSON" if path.suffix == ".json" else "TOML"
        raise ConfigError(f"{path} is not valid {kind}: {error}", f"{kind} text", "mend the line it names") from error
    if not isinstance(tree, dict):
        raise ConfigError(
            f"{path} holds a {type(tree).__name__}", "an object with sections", "see `rigappliance schema`"
        )
    return absolute_paths(tree, path.resolve().parent)


PATH_KEYS = (("state_dir",), ("model", "path"), ("engine", "python"), ("server", "api_key_file"))


def absolute_paths(tree: Tree, base: Path) -> Tree:
    """``tree`` with its relative paths taken from ``base``, so that a file means the same from any directory."""
    result = dict(tree)
    for key, *rest in PATH_KEYS:
        value = result.get(key)
        if rest:
            if isinstance(value, dict) and isinstance(value.get(rest[0]), str):
                result[key] = {**value, rest[0]: str(base / value[rest[0]])}
        elif isinstance(value, str):
            result[key] = str(base / value)
    return result


def from_environment(environ: Mapping[str, str]) -> Tree:
    """``RIGAPPLIANCE_ENGINE__MAX_MODEL_LEN=2048`` as ``{"engine": {"max_model_len": 2048}}``."""
    tree: Tree = {}
    for variable, text in sorted(environ.items()):
        if not variable.startswith(ENV_PREFIX) or variable.startswith(TEST_PREFIX) or variable in RESERVED_ENV:
            continue
        keys = variable.removeprefix(ENV_PREFIX).lower().split("__")
        check_known(keys, f"environment variable {variable}")
        # Engine variables are case-sensitive and upper-case by convention.
        if keys[:2] == ["engine", "environment"] and len(keys) == 3:
            keys[2] = variable.split("__", 2)[2]
            value: object = text
        else:
            value = scalar(text)
        branch = tree
        for key in keys[:-1]:
            branch = branch.setdefault(key, {})
        branch[keys[-1]] = value
    return tree


def scalar(text: str) -> object:
    """A variable's text as the type that it looks like: JSON where it is JSON, a string otherwise."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def check_known(keys: list[str], where: str) -> None:
    model: type[BaseModel] | None = RigConfig
    for depth, key in enumerate(keys):
        if model is None:
            return
        if key not in model.model_fields:
            known = sorted(model.model_fields)
            raise ConfigError(
                f"{where}: unknown key {'.'.join(keys[: depth + 1])!r}",
                f"one of {', '.join(known)}",
                suggestion(key, known),
            )
        annotation = model.model_fields[key].annotation
        model = annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


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


def suggestion(key: str, known: list[str]) -> str:
    near = nearest(key, known)
    return f"did you mean {near!r}?" if near else "remove it, or see `rigappliance schema`"


def validate(tree: Tree, source: str) -> RigConfig:
    """Raises ``ConfigError`` about the first mistake in ``tree``, which came from ``source``."""
    try:
        return RigConfig.model_validate(tree)
    except ValidationError as error:
        raise config_error(error, tree, source) from error


def config_error(error: ValidationError, tree: Tree, source: str) -> ConfigError:
    """The first mistake as one sentence; unknown keys first, since they are often the cause of the rest."""
    mistakes = sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    first = mistakes[0]
    # Union members appear in the location under names of their own; only keys of the tree are of use.
    location = [str(part) for part in first["loc"]]
    more = f" (and {len(mistakes) - 1} more)" if len(mistakes) > 1 else ""
    if first["type"] == "extra_forbidden":
        try:
            check_known(location, source)
        except ConfigError as unknown:
            return ConfigError(unknown.found + more, unknown.expected, unknown.remedy)
    key, value = located(location, tree)
    expected = EXPECTATIONS.get(key) or str(first.get("ctx", {}).get("error", "")) or first["msg"]
    found = f"{source}: {key} is {value!r}" if key else source
    return ConfigError(found + more, lower_first(expected), f"set {key}" if key else "change one of the two")


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


def lower_first(text: str) -> str:
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


# Where pydantic's own words would not tell the operator what to write.
EXPECTATIONS: dict[str, str] = {
    "engine.gpu_memory_utilization": "a number above 0 and up to 1, such as 0.85",
    "server.port": "a TCP port from 1 to 65535, such as 8000",
    "engine.optimization_level": "a whole number from 0 to 3",
    "engine.environment": 'a table of strings, such as { OMP_NUM_THREADS = "1" }',
}

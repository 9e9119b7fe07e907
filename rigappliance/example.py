"""An annotated configuration, generated from the model so that it can never be out of date."""

from __future__ import annotations

import json
import textwrap
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from rigappliance.config import RigConfig

WIDTH = 100
HEADER = """\
# Every key of rigappliance at its default, which is the `rig` profile.
# Written by `rigappliance schema --example`. Unset keys keep their defaults; unknown keys are refused.
"""

# What to write where the default is "unset" or empty.
EXAMPLES: dict[str, str] = {
    "engine.max_num_batched_tokens": "2048",
    "engine.quantization": '"gptq_marlin"',
    "engine.kv_cache_memory": '"256MiB"',
    "engine.optimization_level": "1",
    "engine.options": "{ seed = 1, enable-prefix-caching = false }",
    "engine.environment": '{ OMP_NUM_THREADS = "1" }',
    "server.api_key_file": '"/etc/rigappliance/api-key"',
}


def annotated_example() -> str:
    """TOML text with each key of :class:`RigConfig` below its description; unset keys are commented out."""
    defaults = RigConfig.model_validate({}).model_dump(mode="json")
    top = [name for name, field in RigConfig.model_fields.items() if not is_section(field.annotation)]
    blocks = [HEADER, *(key_lines(RigConfig, name, defaults[name], name) for name in top)]
    for section, field in RigConfig.model_fields.items():
        model = field.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            heading = comment(field.description or "") + f"[{section}]\n"
            keys = [key_lines(model, name, defaults[section][name], f"{section}.{name}") for name in model.model_fields]
            blocks += [heading + keys[0], *keys[1:]]
    return "\n".join(blocks)


def is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def key_lines(model: type[BaseModel], name: str, default: object, key: str) -> str:
    """Description, choices, example and assignment of one key."""
    field = model.model_fields[name]
    text = comment(field.description or "")
    if get_origin(field.annotation) is Literal:
        text += comment(f"One of: {', '.join(str(choice) for choice in get_args(field.annotation))}.")
    if default is None:
        return text + f"# {name} = {EXAMPLES[key]}\n"
    if key in EXAMPLES:
        text += f"# {name} = {EXAMPLES[key]}\n"
    return text + f"{name} = {toml_value(default)}\n"


def comment(text: str) -> str:
    lines = textwrap.wrap(text, WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
    return "".join(f"{line}\n" for line in lines)


def toml_value(value: object) -> str:
    """A default in TOML: its strings, numbers and booleans are written as in JSON."""
    return "{}" if value == {} else json.dumps(value, ensure_ascii=False)

"""A machine as a file: what `rigappliance facts` writes, and what plans of a machine that is not here are made from."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from rigappliance.errors import ConfigError
from rigappliance.facts.gpu import CardFacts, GpuFacts, read_gpu_facts
from rigappliance.facts.host import HostFacts, read_host_facts

REMEDY = "write it anew with `rigappliance facts --output FILE`; `rigappliance facts --schema` tells its form"


@dataclass(frozen=True)
class MachineFacts:
    """Host and cards. In a file, whatever may be unknown may also be left out."""

    host: HostFacts
    gpu: GpuFacts

    # A key that is misspelt would be a fact that is silently unknown.
    __pydantic_config__ = ConfigDict(extra="forbid")


def read_machine_facts(directory: Path) -> MachineFacts:
    """This machine, with the disk that holds ``directory``. Raises nothing."""
    return MachineFacts(read_host_facts(directory.absolute()), read_gpu_facts())


def machine_schema() -> dict[str, Any]:
    """JSON Schema of the file."""
    return TypeAdapter(MachineFacts).json_schema()


def machine_text(machine: MachineFacts) -> str:
    """The file's content; of the host's name nothing stays, since the file is meant to be passed on."""
    host = dataclasses.replace(machine.host, hostname=None)
    text = TypeAdapter(MachineFacts).dump_json(dataclasses.replace(machine, host=host), indent=2).decode()
    return f"{text}\n"


def load_machine(path: Path) -> MachineFacts:
    """Raises ``ConfigError`` for a file that cannot be read, is no JSON, or says what no machine is."""
    expected = "a JSON file of a machine's facts"
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", expected, REMEDY) from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not JSON: {error}", expected, REMEDY) from error
    try:
        return TypeAdapter(MachineFacts).validate_python(complete(MachineFacts, tree))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise ConfigError(f"{path}: {place}: {first['msg']}{more}", expected, REMEDY) from error


def complete(kind: Any, tree: object) -> object:
    """``tree`` with what it leaves out: ``None`` for what may be unknown, an empty list, its place for an index."""
    inner = next((part for part in options(kind) if dataclasses.is_dataclass(part)), None)
    if isinstance(tree, list):
        item = next((typing.get_args(part)[0] for part in options(kind) if typing.get_origin(part) is tuple), None)
        numbered = [
            {"index": place, **each} if item is CardFacts and isinstance(each, dict) else each
            for place, each in enumerate(tree)
        ]
        return [complete(item, each) for each in numbered]
    if inner is None or not isinstance(tree, dict):
        return tree
    hints = typing.get_type_hints(inner)
    done: dict[Any, object] = {
        name: complete(hints[name], value) if name in hints else value for name, value in tree.items()
    }
    for field in dataclasses.fields(inner):
        if field.name not in done and field.default is dataclasses.MISSING:
            done.update(left_out(field.name, hints[field.name]))
    return done


def left_out(name: str, kind: Any) -> dict[str, object]:
    """The value of a required field that a file does not have; none where it must have it."""
    if types.NoneType in options(kind):
        return {name: None}
    if dataclasses.is_dataclass(kind):
        return {name: complete(kind, {})}
    if typing.get_origin(kind) is tuple:
        return {name: ()}
    return {name: Path("/")} if kind is Path else {}


def options(kind: Any) -> tuple[Any, ...]:
    """The parts of a union, or the kind itself."""
    return typing.get_args(kind) if typing.get_origin(kind) in (types.UnionType, typing.Union) else (kind,)

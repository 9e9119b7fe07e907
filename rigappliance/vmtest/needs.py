"""What the machine of a VM test has beyond its settings: ``nixos/tests/NAME.toml``, read here and by Nix."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from rigappliance.errors import ConfigError
from rigappliance.quantities import ByteSize


def _absolute(value: object) -> object:
    if not isinstance(value, str) or not value.startswith("/") or " " in value:
        raise ValueError("an absolute path without blanks")
    return value


AbsolutePath = Annotated[str, BeforeValidator(_absolute)]


class Volume(BaseModel):
    """A file system of its own, mounted before the units start."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: AbsolutePath
    size: ByteSize
    type: Literal["ext3", "ext4", "xfs", "btrfs"] = "ext4"
    owner: str = "root"


class Needs(BaseModel):
    """The keys of the file. ``boot``: it begins with a cold boot and not just before the units start."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    memory: ByteSize = 1024**3
    cpus: int = Field(default=2, ge=1, le=8)
    engine: Literal["standin", "none"] = "standin"
    checkpoint: bool = True
    boot: bool = False
    packages: tuple[str, ...] = ()
    nixos_packages: tuple[str, ...] = ()
    volumes: tuple[Volume, ...] = ()
    files: dict[AbsolutePath, str] = Field(default_factory=dict)


def read_needs(path: Path) -> Needs:
    """The file's needs, or the usual ones where there is no file. Raises ``ConfigError``."""
    if not path.exists():
        return Needs()
    try:
        return Needs.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is no TOML: {error}", "the keys of a VM test's machine", "correct it") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        known = ", ".join(Needs.model_fields)
        raise ConfigError(f"{path}: {key}: {first['msg']}", f"keys {known}", f"correct {key}") from error

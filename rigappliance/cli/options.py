"""Options that several verbs share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Decorated = Callable[..., Any]


def config_options(command: Decorated) -> Decorated:
    """``--config FILE`` and ``--profile NAME``, handed on as ``config`` and ``profile``."""
    command = click.option(
        "--profile",
        type=click.Choice(["rig", "demo"]),
        help="Where unset values come from; overrides the file's own profile.",
    )(command)
    return click.option(
        "-c",
        "--config",
        # Also a directory: reading it fails with the exit code of a wrong configuration.
        type=click.Path(path_type=Path),
        envvar="RIGAPPLIANCE_CONFIG",
        show_envvar=True,
        help="Configuration file, TOML or JSON.",
    )(command)


def json_option(command: Decorated) -> Decorated:
    """``--json``, handed on as ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")(command)

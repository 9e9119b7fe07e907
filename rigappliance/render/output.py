"""An engine command as text for people, shells and programs."""

from __future__ import annotations

import json
import shlex

from rigappliance.render.vllm import EngineCommand


def as_json(command: EngineCommand) -> str:
    """``argv``, ``environment``, ``notices`` and ``secrets``; of a secret only where it is."""
    return json.dumps(
        {
            "argv": list(command.argv),
            "environment": command.environment,
            "notices": [{"key": notice.key, "text": notice.text} for notice in command.notices],
            "secrets": {name: str(path) for name, path in command.secrets.items()},
        },
        indent=2,
    )


def as_shell(command: EngineCommand) -> str:
    """A POSIX shell script that becomes the engine. Secrets are read when it runs."""
    lines = ["#!/bin/sh"]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in command.environment.items()]
    for name, path in command.secrets.items():
        # Apart from `export`, whose own success would hide that the file cannot be read.
        lines += [f'{name}="$(cat {shlex.quote(str(path))})" || exit 1', f"export {name}"]
    lines.append(f"exec {argument_lines(command.argv)}")
    return "\n".join(lines)


def argument_lines(argv: tuple[str, ...]) -> str:
    """The arguments quoted, an option a line."""
    text = shlex.quote(argv[0])
    for argument in argv[1:]:
        text += (" \\\n  " if argument.startswith("-") else " ") + shlex.quote(argument)
    return text

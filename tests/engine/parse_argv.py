"""Run by the engine's interpreter: a JSON list of argument vectors on stdin, their namespaces as JSON on stdout.

Each vector is a whole command; it is parsed and validated as its own entry point would.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import sys
from enum import Enum
from typing import Any

# The engine logs to stdout; keep that for the answer alone.
answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
os.dup2(2, 1)

from vllm.entrypoints.cli import serve  # noqa: E402
from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args  # noqa: E402
from vllm.utils.argparse_utils import FlexibleArgumentParser  # noqa: E402


def plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.name
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name, None)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(element) for key, element in value.items()}
    if isinstance(value, list | tuple):
        return [plain(element) for element in value]
    if isinstance(value, set | frozenset):
        return sorted(plain(element) for element in value)
    return value if isinstance(value, str | int | float | bool | None) else repr(value)


def parse(argv: list[str]) -> dict[str, Any]:
    if argv[1].endswith("/enginestart/entry.py"):
        # It hands on what follows it.
        argv = argv[1:]
    if argv[1:2] == ["serve"]:
        args = command_line.parse_args(argv[1:])
        serve_command.validate(args)
        # What ServeSubcommand.cmd does first.
        if args.model_tag is not None:
            args.model = args.model_tag
    else:
        assert argv[1:3] == ["-m", "vllm.entrypoints.openai.api_server"], argv
        args = server.parse_args(argv[3:])
        validate_parsed_serve_args(args)
    names = vars(args)
    return {name: plain(value) for name, value in names.items() if name not in ("dispatch_function", "subparser")}


def attempt(argv: list[str]) -> dict[str, Any]:
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return {"namespace": parse(argv)}
    except (SystemExit, Exception) as error:
        return {"error": f"{said.getvalue()[-600:]} {error!r}"}


# As vllm.entrypoints.cli.main and vllm.entrypoints.launchers.api_server.entry build them.
command_line = FlexibleArgumentParser(prog="vllm")
(serve_command,) = serve.cmd_init()
serve_command.subparser_init(command_line.add_subparsers(required=False, dest="subparser"))
server = make_arg_parser(FlexibleArgumentParser())

json.dump([attempt(argv) for argv in json.load(sys.stdin)], answer)
answer.close()

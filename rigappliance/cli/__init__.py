"""The command line: a verb a module, imported only when it is called."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from rigappliance import ENGINE_VERSION, __version__
from rigappliance.errors import ExitCode, RigError, UsageError

# Verb → what it does, in the order in which an operator meets them. Each is
# `command` in rigappliance.cli.<verb>, so that `--help` imports none of them.
VERBS: dict[str, str] = {
    "demo": "Serve a tiny model with the real engine on this machine's CPU.",
    "check": "Say what would go wrong before it does.",
    "plan": "Say whether it fits, why, and how fast it would be.",
    "facts": "Write down what this machine is, for plans made elsewhere.",
    "render": "Print the engine's command line, environment or systemd units.",
    "swap": "Make, enable, disable or show the declared swap file.",
    "fetch": "Bring the checkpoint here and verify it.",
    "install": "Install the systemd units on this machine.",
    "uninstall": "Remove all that install made.",
    "warm": "Start once, keep what the engine compiles, stop.",
    "cache": "List, verify, export and import what is kept.",
    "launch": "Start the engine, watch it, prove it ready, stop it cleanly.",
    "wait": "Return when an endpoint is live, ready or completing.",
    "status": "Show the running or last start: phase, times, memory, endpoint.",
    "why": "Explain the last failure, or a log from anywhere.",
    "ask": "Send one prompt and stream the answer.",
    "bench": "Measure this rig, and compare it with what it did before.",
    "calibrate": "Take this rig's own numbers for plans from a running engine.",
    "schema": "Print the configuration's JSON Schema or an annotated example.",
}


@contextmanager
def reader_may_leave() -> Iterator[None]:
    """A reader of our output that has seen enough, such as ``head``, is no failure; click would make it one."""
    try:
        yield
    except BrokenPipeError:
        # What Python still holds would fail once more on exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise click.exceptions.Exit(ExitCode.OK) from None


class LazyGroup(click.Group):
    """Finds a verb's module by its name."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        with reader_may_leave():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with reader_may_leave():
            return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"rigappliance.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        # While a shell completes, a word that is no verb is nothing to complain about.
        if args[0] not in VERBS and not args[0].startswith("-") and not ctx.resilient_parsing:
            near = difflib.get_close_matches(args[0], VERBS, n=1, cutoff=0.5)
            raise UsageError(
                f"no such verb {args[0]!r}",
                f"one of {', '.join(VERBS)}",
                f"did you mean {near[0]!r}?" if near else "see `rigappliance --help`",
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""
    \b
    Examples:
      rigappliance demo                        the whole way, on a tiny model
      rigappliance check -c rig.toml           before a start
      rigappliance launch -c rig.toml          start and watch
      rigappliance wait --for completion && rigappliance ask "Hello"
    \b
    Shell completion: eval "$(_RIGAPPLIANCE_COMPLETE=bash_source rigappliance)"
    """,
)
@click.version_option(__version__, message=f"rigappliance %(version)s (vLLM {ENGINE_VERSION})")
def group() -> None:
    """Declare a rig, and get an endpoint that is planned, watched and proved."""


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code; errors go to stderr as one message."""
    try:
        result = group.main(args=arguments, prog_name="rigappliance", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return int(ExitCode.USAGE)
    except click.ClickException as error:
        from rigappliance.cli.usage import usage_error

        words = sys.argv[1:] if arguments is None else arguments
        context = error.ctx if isinstance(error, click.UsageError) else None
        # Some mistakes come without their context, and those before the verb with the group's.
        verb = next((word for word in words if word in VERBS), None)
        return complain(usage_error(error, None if context and context.command is group else verb))
    except click.exceptions.Abort:
        return int(ExitCode.INTERRUPTED)
    except RigError as error:
        return complain(error)
    return int(result) if isinstance(result, int) else int(ExitCode.OK)


def complain(error: RigError) -> int:
    sys.stderr.write(f"rigappliance: {error.message}\n")
    return int(error.exit_code)

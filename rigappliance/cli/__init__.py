"""The command line: a verb a module, imported only when it is called."""

from __future__ import annotations

import importlib
import sys

import click

from rigappliance import ENGINE_VERSION, __version__
from rigappliance.errors import ExitCode, RigError

# Verb → what it does, in the order in which an operator meets them. Each is
# `command` in rigappliance.cli.<verb>, so that `--help` imports none of them.
VERBS: dict[str, str] = {
    "demo": "Serve a tiny model with the real engine on this machine's CPU.",
    "check": "Say what would go wrong before it does.",
    "render": "Print the engine's command line, environment or systemd units.",
    "launch": "Start the engine, watch it, prove it ready, stop it cleanly.",
    "wait": "Return when an endpoint is live, ready or completing.",
    "status": "Show the running or the last start: phase, times, memory, endpoint.",
    "ask": "Send one prompt and stream the answer.",
    "schema": "Print the configuration's JSON Schema or an annotated example.",
}


class LazyGroup(click.Group):
    """Finds a verb's module by its name."""

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
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            from rigappliance.configfile import nearest

            near = nearest(args[0], VERBS)
            hint = f" Did you mean {near!r}?" if near else f" Verbs: {', '.join(VERBS)}."
            ctx.fail(f"No such verb {args[0]!r}.{hint}")
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
    except click.ClickException as error:
        error.show()
        return int(ExitCode.USAGE)
    except click.exceptions.Abort:
        return int(ExitCode.INTERRUPTED)
    except RigError as error:
        sys.stderr.write(f"rigappliance: {error.message}\n")
        return int(error.exit_code)
    except BrokenPipeError:
        # The reader of our output left; Python would complain once more on exit.
        sys.stderr.close()
        return int(ExitCode.OK)
    return int(result) if isinstance(result, int) else int(ExitCode.OK)

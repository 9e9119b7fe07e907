"""``rigappliance-vmtest``: the VM tests of a checkout, and a guest to look around in."""

from __future__ import annotations

import sys

import click

from rigappliance.cli.usage import clause, expected_value
from rigappliance.errors import ExitCode, RigError, UsageError
from rigappliance.vmtest.cli.bundle import command as bundle
from rigappliance.vmtest.cli.list import command as list_
from rigappliance.vmtest.cli.run import command as run_
from rigappliance.vmtest.cli.shell import command as shell

PROGRAM = "rigappliance-vmtest"


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""
    \b
    Examples:
      rigappliance-vmtest list
      rigappliance-vmtest run service swap     two tests; without names all
      rigappliance-vmtest shell --run service  look around in a test's machine
    """,
)
def group() -> None:
    """Tests on real machines: a Debian guest under QEMU, with a systemd of its own."""


for verb in (list_, run_, shell, bundle):
    group.add_command(verb)


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code; errors go to stderr as one message."""
    try:
        result = group.main(args=arguments, prog_name=PROGRAM, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return int(ExitCode.USAGE)
    except click.ClickException as error:
        return complain(usage_error(error))
    except (click.exceptions.Abort, KeyboardInterrupt):
        return int(ExitCode.INTERRUPTED)
    except RigError as error:
        return complain(error)
    return int(result) if isinstance(result, int) else int(ExitCode.OK)


def usage_error(error: click.ClickException) -> UsageError:
    """What click says about a wrong command line, as one of our own errors."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    path = context.command_path if context else PROGRAM
    usage = " ".join([path, *context.command.collect_usage_pieces(context)]) if context else ""
    expected = usage
    if isinstance(error, click.BadParameter) and error.param is not None:
        expected = expected_value(error.param.type) or usage
    return UsageError(clause(error.format_message()), expected, f"see `{path} --help`")


def complain(error: RigError) -> int:
    sys.stderr.write(f"{PROGRAM}: {error.message}\n")
    return int(error.exit_code)


def main() -> None:
    sys.exit(run())

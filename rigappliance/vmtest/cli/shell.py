"""``rigappliance-vmtest shell``: a root shell in a guest."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from rigappliance.errors import UsageError
from rigappliance.units import parse_size
from rigappliance.vmtest.cases import TESTS, chosen
from rigappliance.vmtest.control import control_recipe, with_control
from rigappliance.vmtest.interactive import run_script, sit_down
from rigappliance.vmtest.origin import Origin
from rigappliance.vmtest.prepare import prepared
from rigappliance.vmtest.qemu import Hardware
from rigappliance.vmtest.saved import booted

LEAST_BYTES = 256 * 1024**2


@click.command(name="shell")
@click.option("--control", is_flag=True, help="With the tree's rigappliance installed.")
@click.option("--run", "name", metavar="NAME", help="As the machine of that test, its units just starting.")
@click.option("--memory", metavar="SIZE", help="RAM of a machine that is no test's, such as 2GiB. [default: 1GiB]")
@click.option("--tests", type=click.Path(path_type=Path), default=TESTS, help="Directory of the tests.")
def command(control: bool, name: str | None, memory: str | None, tests: Path) -> int:
    """Open a root shell in a guest of its own; `exit` ends both.

    What comes through a pipe is run as a script instead, and its exit status is
    this program's.

    \b
    Examples:
      rigappliance-vmtest shell
      rigappliance-vmtest shell --control --memory 2GiB
      echo "systemctl status rigappliance" | rigappliance-vmtest shell --run service
    """
    origin = chosen_origin(control, name, memory, tests)
    if not sys.stdin.isatty():
        return run_script(origin, sys.stdin.buffer.read(), sys.stdout.buffer, sys.stderr.buffer)
    sit_down(origin)
    return 0


def chosen_origin(control: bool, name: str | None, memory: str | None, tests: Path) -> Origin:
    if name is not None:
        if memory is not None:
            raise UsageError("--memory with --run", "one of both", f"state memory in {tests / f'{name}.toml'}")
        [case] = chosen((name,), tests)
        return prepared(case)
    hardware = Hardware() if memory is None else Hardware(memory_bytes=size(memory))
    return with_control(hardware=hardware) if control else booted(control_recipe(), hardware)


def size(text: str) -> int:
    try:
        found = parse_size(text)
    except ValueError as error:
        raise UsageError(f"--memory {text}", str(error), "give it with its unit, such as 2GiB") from error
    if found < LEAST_BYTES:
        raise UsageError(f"--memory {text}", "256MiB or more: less does not boot", "give it more")
    return found

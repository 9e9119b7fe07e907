"""``rigappliance-vmtest bundle``: the files of a test's machine, for NixOS's test driver."""

from __future__ import annotations

from pathlib import Path

import click

from rigappliance.vmtest.bundle import RECORDINGS, write_bundle
from rigappliance.vmtest.cases import TESTS, chosen


@click.command(name="bundle")
@click.argument("name")
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--tests", type=click.Path(path_type=Path), default=TESTS, help="Directory of the tests.")
@click.option("--recordings", type=click.Path(path_type=Path), default=RECORDINGS, help="Logs that are replayed.")
@click.option("--python", default="/usr/bin/python3", help="Interpreter in the machine.")
def command(name: str, directory: Path, tests: Path, recordings: Path, python: str) -> None:
    """Write what the machine of the test NAME needs in files: nixos/tests/lib/test.nix builds it so.

    \b
    Examples:
      rigappliance-vmtest bundle service /tmp/service
    """
    [case] = chosen((name,), tests)
    write_bundle(case, directory, python, recordings)

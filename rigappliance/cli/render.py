"""``rigappliance render``: what a launch would execute."""

from __future__ import annotations

from pathlib import Path

import click

from rigappliance.cli.options import config_options


@click.command(name="render")
@config_options
@click.option(
    "--format",
    "form",
    type=click.Choice(["json", "shell", "systemd"]),
    default="shell",
    show_default=True,
    help="A program's input, a script that becomes the engine, or the unit that runs `rigappliance launch`.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="With --format systemd: write all units and the files beside them below this directory.",
)
@click.option("--fetch", is_flag=True, help="With --output: also the unit that downloads the checkpoint.")
@click.option(
    "--systemd",
    "version",
    type=click.IntRange(min=1),
    help="Version that will read the units; newer keys are left out.  [default: this machine's]",
)
def command(
    config: Path | None, profile: str | None, form: str, output: Path | None, fetch: bool, version: int | None
) -> None:
    """Print the engine's command line and environment, or write systemd units.

    Nothing is started and the machine is not looked at. What is declared and not
    passed on is said on stderr.

    \b
    Examples:
      rigappliance render -c rig.toml
      rigappliance render -c rig.toml --format json | jq .argv
      rigappliance render -c rig.toml --format systemd
      rigappliance render -c rig.toml --format systemd --output files/
    """
    from rigappliance.configfile import load_config
    from rigappliance.errors import UsageError
    from rigappliance.render.host import own_program, systemd_version
    from rigappliance.render.output import as_json, as_shell
    from rigappliance.render.plainhost import host_files
    from rigappliance.render.vllm import render

    if form != "systemd" and (output or fetch or version):
        raise UsageError(
            "--output, --fetch or --systemd without --format systemd",
            "the format that they belong to",
            "add --format systemd",
        )
    declared = load_config(config, profile=profile)
    # Also for a unit: what cannot be rendered cannot be launched.
    rendered = render(declared)
    for notice in rendered.notices:
        click.echo(f"rigappliance: note: {notice}", err=True)
    if form != "systemd":
        click.echo(as_json(rendered) if form == "json" else as_shell(rendered))
        return
    # Without a file the profile alone speaks, also on the host.
    files = host_files(declared, config, own_program(), fetch=fetch, systemd=version or systemd_version())
    if output is None:
        click.echo(files[0].text, nl=False)
        click.echo(f"rigappliance: note: {len(files) - 1} more files belong to it; --output writes them all", err=True)
        return
    for file in files:
        write(output / file.path.relative_to("/"), file.text)


def write(path: Path, text: str) -> None:
    """Write one file and say so. Raises ``UsageError`` where it cannot be written."""
    from rigappliance.errors import UsageError

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"cannot write {path}: {error.strerror}", "a directory that may be written", "name another with --output"
        ) from error
    click.echo(path)

"""What the operator should know beside what is done."""

from __future__ import annotations

from rigappliance.install.compare import Comparison
from rigappliance.install.declaration import Declaration, ignored_variables
from rigappliance.install.host import Host
from rigappliance.install.manifest import Manifest, digest
from rigappliance.render.systemd import ENGINE


def notes_on(
    host: Host,
    declaration: Declaration,
    comparison: Comparison,
    previous: Manifest | None,
    active: frozenset[str],
) -> list[str]:
    """Each a sentence without its full stop."""
    return [
        *(f"{name} is set in this shell: the services do not see it" for name in ignored_variables()),
        *declaration.warnings,
        *missing(host, declaration),
        *running(declaration, comparison, previous, active),
        *moved(declaration, previous),
    ]


def missing(host: Host, declaration: Declaration) -> list[str]:
    """What a start needs and an installation does not."""
    config = declaration.config
    key, python, model = config.server.api_key_file, config.engine.python.absolute(), config.model.path.absolute()
    notes = []
    if key is not None and not host.at(key.absolute()).exists():
        notes.append(f"server.api_key_file {key} is not there: without it the service does not start")
    if not host.at(python).exists():
        notes.append(f"engine.python {python} is not there: without the engine the service does not start")
    if not declaration.fetch and not host.at(model / "config.json").exists():
        notes.append(f"no checkpoint in {model}: bring it there, or install with --fetch")
    return notes


def running(
    declaration: Declaration, comparison: Comparison, previous: Manifest | None, active: frozenset[str]
) -> list[str]:
    """Nothing is restarted unasked: a start takes the better part of an hour."""
    changed = {path.name for path in comparison.changed}
    if previous and previous.config_digest != digest(declaration.text):
        changed.add(ENGINE)
    return [
        f"{name} goes on as it was started: `systemctl restart {name}` brings the change"
        for name in sorted(active & changed)
    ]


def moved(declaration: Declaration, previous: Manifest | None) -> list[str]:
    state = declaration.config.state_dir.absolute()
    return [
        f"{path}, the state directory before, stays until the appliance is uninstalled"
        for path in (previous.state_dirs[:1] if previous else ())
        if path != state
    ]

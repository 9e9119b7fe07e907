"""Parameters of the kernel, from what they were to what is declared, and back."""

from __future__ import annotations

from dataclasses import dataclass

from rigappliance.config import RigConfig
from rigappliance.install.host import Host
from rigappliance.install.manifest import Manifest, Parameter
from rigappliance.install.steps import SetParameter, read_parameter
from rigappliance.render.plainhost import kernel_parameters


@dataclass(frozen=True)
class Settled:
    records: dict[str, Parameter]
    steps: tuple[SetParameter, ...]
    notes: tuple[str, ...]


def settle(host: Host, config: RigConfig, previous: Manifest | None) -> Settled:
    """Set what ``config`` declares, and set back what it no longer does."""
    recorded = previous.parameters if previous else {}
    records, steps = {}, []
    for name, value in (kernel_parameters(config) if config.memory.swap else {}).items():
        now = read_parameter(host, name)
        if now is None:
            continue
        before = recorded[name].before if name in recorded else now
        records[name] = Parameter(before=before, ours=(value,))
        if now != value:
            steps.append(SetParameter(name, now, value))
    back, notes = restore(host, {name: record for name, record in recorded.items() if name not in records})
    return Settled(records, (*steps, *back), notes)


def restore(host: Host, records: dict[str, Parameter]) -> tuple[tuple[SetParameter, ...], tuple[str, ...]]:
    """Set each back to what it was; one that somebody has set meanwhile stays, with a note."""
    steps, notes = [], []
    for name, record in records.items():
        now = read_parameter(host, name)
        if now is None or now == record.before:
            continue
        if now in record.ours:
            steps.append(SetParameter(name, now, record.before))
        else:
            notes.append(f"{name} stays {now}: it was set meanwhile, and was {record.before} before the installation")
    return tuple(steps), tuple(notes)

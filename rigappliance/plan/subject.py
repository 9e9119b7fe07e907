"""What is planned: which checkpoint on which machine, its own or one that somebody thinks of."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from rigappliance.config import RigConfig
from rigappliance.errors import UsageError
from rigappliance.facts.gpu import CardFacts, GpuFacts
from rigappliance.facts.machine import MachineFacts, load_machine, read_machine_facts
from rigappliance.plan.build import Plan, make_plan, named_cards
from rigappliance.plan.catalogue import entries, from_catalogue
from rigappliance.plan.fit import Verdict
from rigappliance.plan.numbers import numbers_for
from rigappliance.plan.tensors import CheckpointShape, read_shape

MACHINES = Path(__file__).parent / "data/machines"
# Shards of published checkpoints are cut at 4 to 5 GB.
PUBLISHED_SHARD_BYTES = 4_000_000_000


def planned(declared: RigConfig, model: str | None, machine_file: Path | None, cards: str | None) -> Plan:
    """The plan of a declaration, with another checkpoint, another machine or other cards where these are given.

    For cards that somebody thinks of, the fastest layout that fits is taken where the declared one does not.  Raises
    ``ConfigError``, ``UsageError`` and ``PreflightError``.
    """
    facts = load_machine(named_machine(machine_file)) if machine_file else read_machine_facts(declared.state_dir)
    shape, largest = shape_of(declared, model)
    if model is not None:
        declared = changed(declared, "model", name=shape.name)
    if cards is None:
        return made(declared, shape, facts, largest)
    facts = replace(facts, gpu=GpuFacts(cards=cards_of(cards)))
    declared = fitted(declared, len(facts.gpu.cards))
    plan = made(declared, shape, facts, largest)
    best = next((each for each in plan.layouts if each.fits), None)
    if plan.verdict is Verdict.FITS or best is None:
        return plan
    declared = changed(
        declared, "engine", tensor_parallel=best.tensor_parallel, pipeline_parallel=best.pipeline_parallel
    )
    plan = made(declared, shape, facts, largest)
    return replace(plan, notes=(f"{best.name} is the fastest layout that fits these cards", *plan.notes))


def made(declared: RigConfig, shape: CheckpointShape, facts: MachineFacts, largest: int) -> Plan:
    return make_plan(declared, shape, facts, numbers_for(declared.state_dir), largest_shard_bytes=largest)


def changed(declared: RigConfig, section: str, **values: object) -> RigConfig:
    return declared.model_copy(update={section: getattr(declared, section).model_copy(update=values)})


def named_machine(path: Path) -> Path:
    """A file that is there, or one that comes with the package."""
    shipped = MACHINES / f"{path}.json"
    return shipped if not path.exists() and shipped.parent == MACHINES and shipped.is_file() else path


def shape_of(declared: RigConfig, model: str | None) -> tuple[CheckpointShape, int]:
    """The checkpoint, and the bytes of its largest shard."""
    directory = declared.model.path if model is None else Path(model)
    if directory.is_dir() or (model is None and declared.model.repository not in entries()):
        sizes = [path.stat().st_size for path in directory.glob("*.safetensors")]
        return read_shape(directory), max(sizes, default=0)
    # Not downloaded yet: the catalogue knows it all the same.
    shape = from_catalogue(model or declared.model.repository)
    return shape, min(shape.tensor_bytes, PUBLISHED_SHARD_BYTES)


def cards_of(words: str) -> tuple[CardFacts, ...]:
    """``6 x RTX 3060``. Raises ``UsageError`` for other words, and ``ConfigError`` for a card that is not known."""
    match = re.fullmatch(r"\s*(\d{1,3})\s*[x×*]\s*(.+?)\s*", words)
    if match is None or int(match[1]) < 1:
        raise UsageError(f"--cards {words!r}", "a number, an x and a card's name", "such as --cards '6 x RTX 3060'")
    return named_cards(int(match[1]), match[2])


def fitted(declared: RigConfig, count: int) -> RigConfig:
    """The declaration for another number of cards: as many ranks in the widest layout, where the declared has more."""
    declared = changed(declared, "hardware", cards=count)
    if declared.ranks <= count:
        return declared
    return changed(declared, "engine", tensor_parallel=1 << (count.bit_length() - 1), pipeline_parallel=1)

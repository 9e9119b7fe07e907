"""What would go wrong, said before it does: one check a function, one concern a file."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rigappliance.config import RigConfig
from rigappliance.errors import EngineMissingError, PreflightError
from rigappliance.facts.enginebuild import cuda_major
from rigappliance.facts.gpu import GpuFacts, read_gpu_facts
from rigappliance.facts.host import HostFacts, read_host_facts
from rigappliance.facts.knownshapes import read_known_shapes
from rigappliance.facts.model import ModelFacts, read_model_facts
from rigappliance.facts.system import SystemFacts, read_system_facts
from rigappliance.facts.tokenizer import tokenizer_damage
from rigappliance.facts.unitfile import unit_environment
from rigappliance.preflight.cards import check_cards
from rigappliance.preflight.checkpoint import check_checkpoint
from rigappliance.preflight.clock import check_clock
from rigappliance.preflight.contents import check_hashes, check_tokenizer
from rigappliance.preflight.cpu import check_cpu
from rigappliance.preflight.disk import check_errors, check_speed
from rigappliance.preflight.engine import MISSING_CHECKS, check_engine
from rigappliance.preflight.finding import Finding, Severity
from rigappliance.preflight.kernelmemory import check_fragmentation, check_huge_pages, check_overcommit
from rigappliance.preflight.limits import check_limits
from rigappliance.preflight.memory import check_memory
from rigappliance.preflight.memorylimit import check_memory_limit, effective_limit
from rigappliance.preflight.planned import check_plan
from rigappliance.preflight.port import check_port
from rigappliance.preflight.servable import check_servable
from rigappliance.preflight.shapes import check_shapes
from rigappliance.preflight.sharedmemory import check_shared_memory
from rigappliance.preflight.state import check_state
from rigappliance.preflight.swap import check_swap_use
from rigappliance.preflight.toolchain import check_toolchain

if TYPE_CHECKING:
    # Looked at by `check` alone: a launch does not wait for their imports.
    from rigappliance.facts.diskspeed import DiskSpeed
    from rigappliance.facts.hashes import HashFacts
    from rigappliance.facts.toolchain import ToolchainFacts

__all__ = ["Facts", "Finding", "engine_missing", "raise_on_failure", "read_facts", "run_checks", "verdict"]


@dataclass(frozen=True)
class Facts:
    """What is, beside what is declared. ``None`` is what was not asked for."""

    host: HostFacts
    gpu: GpuFacts
    model: ModelFacts
    system: SystemFacts = field(default_factory=SystemFacts)
    engine_cuda: int | None = None
    tokenizer_damage: str | None = None
    known_shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    toolchain: ToolchainFacts | None = None
    disk_speed: DiskSpeed | None = None
    hashes: HashFacts | None = None
    thorough: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The same for ``--json``, in three groups; paths are left for the encoder."""
        tree = asdict(self)
        del tree["thorough"]
        groups: dict[str, Any] = {name: tree.pop(name) for name in ("host", "gpu", "model")}
        for group, names in (
            ("host", ("system", "toolchain", "disk_speed")),
            ("gpu", ("engine_cuda",)),
            ("model", ("tokenizer_damage", "known_shapes", "hashes")),
        ):
            groups[group] |= {name: tree.pop(name) for name in names}
        return groups


def read_facts(config: RigConfig, *, thorough: bool = False, root: Path = Path("/")) -> Facts:
    """The facts that the checks need, below ``root`` where they are the machine's.

    ``thorough`` asks each card for its health, reads the kernel's log and the
    whole tokenizer, and compiles a probe: a second or two.  Cards are asked only
    where the engine uses them.  Raises nothing.
    """
    cuda = config.engine.device == "cuda"
    host = read_host_facts(config.state_dir.absolute(), root)
    return Facts(
        host=host,
        gpu=read_gpu_facts(health=thorough, root=root)
        if cuda
        else GpuFacts(reason="engine.device is cpu: the cards were not asked"),
        model=read_model_facts(config.model.path),
        system=read_system_facts(host, root, thorough=thorough),
        engine_cuda=cuda_major(config.engine.python) if cuda else None,
        tokenizer_damage=tokenizer_damage(config.model.path, parse=thorough),
        known_shapes=read_known_shapes(config.model.path),
        toolchain=probe_toolchain(config, root) if thorough else None,
        thorough=thorough,
    )


def probe_toolchain(config: RigConfig, root: Path = Path("/")) -> ToolchainFacts | None:
    """``None`` without an interpreter to make it with, which is a failure of its own."""
    from rigappliance.facts.toolchain import read_toolchain

    if not os.access(config.engine.python, os.X_OK):
        return None
    # As the service's engine gets them: on NixOS the compilers are in its unit and not in this shell.
    environment = {**os.environ, **unit_environment(root), **config.engine.environment}
    return read_toolchain(
        config.engine.python.absolute(),
        environment,
        cuda=config.engine.device == "cuda",
        place=config.state_dir if os.access(config.state_dir, os.W_OK | os.X_OK) else None,
    )


def run_checks(config: RigConfig, facts: Facts | None = None, *, thorough: bool = False) -> list[Finding]:
    """All findings, the engine's first. Raises nothing.

    ``facts`` default to those of this machine.  Without ``thorough`` ones it is
    what may forbid a start, and takes milliseconds; a launch does it every time.
    """
    facts = facts or read_facts(config, thorough=thorough)
    system = facts.system
    cards = check_cards(config, facts.gpu, facts.model, faults=system.faults, cuda=facts.engine_cuda)
    return [
        *check_engine(config.engine),
        *([check_cpu(config, facts.host.cpu)] if facts.thorough else []),
        *(check_toolchain(config, facts.toolchain) if facts.toolchain else []),
        *check_checkpoint(config, facts.model),
        *check_servable(config, facts.model),
        *([shapes] if (shapes := check_shapes(facts.model, facts.known_shapes)) else []),
        *check_tokenizer(facts.tokenizer_damage),
        *([check_hashes(facts.hashes)] if facts.hashes else []),
        *cards,
        # What is wrong with a card would come again as a plan that does not fit it.
        *([] if verdict(cards) == "fail" else check_plan(config, facts.gpu)),
        *check_memory(
            config,
            facts.host,
            facts.model,
            limit_bytes=effective_limit(system.memory_limit),
            overcommit=system.kernel.overcommit,
        ),
        check_memory_limit(config, facts.host, system.memory_limit),
        check_overcommit(config, system.kernel, facts.model),
        check_shared_memory(config, system.shared_memory),
        *(check_setup(config, facts) if facts.thorough else []),
        *check_limits(system.limits),
        *check_state(config.state_dir, facts.host.disk),
        *(check_disk(facts) if facts.thorough else []),
        *check_port(config.server),
        *([check_clock(system.clock)] if system.clock else []),
    ]


def check_setup(config: RigConfig, facts: Facts) -> list[Finding]:
    """What makes a start slower, or the second one fail, and keeps none from beginning."""
    system = facts.system
    return [
        *check_swap_use(config, facts.host, system.kernel, system.swap_pieces),
        check_fragmentation(system.kernel),
        check_huge_pages(system.kernel),
    ]


def check_disk(facts: Facts) -> list[Finding]:
    speed = [check_speed(facts.disk_speed, facts.model)] if facts.disk_speed else []
    return [*speed, check_errors(facts.system.faults.disks if facts.system.faults else None)]


def verdict(findings: list[Finding]) -> Severity:
    """The worst severity among ``findings``."""
    severities = {finding.severity for finding in findings}
    return "fail" if "fail" in severities else "warn" if "warn" in severities else "ok"


def engine_missing(findings: list[Finding]) -> Finding | None:
    """The finding that says that there is no engine to start, or ``None``."""
    return next((f for f in findings if f.severity == "fail" and f.check in MISSING_CHECKS), None)


def raise_on_failure(findings: list[Finding]) -> None:
    """Raises ``EngineMissingError`` if there is no engine, else ``PreflightError`` about the first failure."""
    failures = [finding for finding in findings if finding.severity == "fail"]
    if not failures:
        return
    missing = engine_missing(findings)
    first = missing or failures[0]
    others = len(failures) - 1
    more = f" (and {others} more: see `rigappliance check`)" if others else ""
    error = EngineMissingError if missing else PreflightError
    raise error(first.found + more, first.expected, first.remedy)

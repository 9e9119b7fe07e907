"""What would go wrong, said before it does: one check a function, one concern a file."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from rigappliance.config import RigConfig
from rigappliance.errors import EngineMissingError, PreflightError
from rigappliance.facts.gpu import GpuFacts, read_gpu_facts
from rigappliance.facts.host import HostFacts, read_host_facts
from rigappliance.facts.model import ModelFacts, read_model_facts
from rigappliance.preflight.cards import check_cards
from rigappliance.preflight.checkpoint import check_checkpoint
from rigappliance.preflight.engine import MISSING_CHECKS, check_engine
from rigappliance.preflight.finding import Finding, Severity
from rigappliance.preflight.memory import check_memory
from rigappliance.preflight.port import check_port
from rigappliance.preflight.state import check_state

__all__ = ["Facts", "Finding", "engine_missing", "raise_on_failure", "read_facts", "run_checks", "verdict"]


@dataclass(frozen=True)
class Facts:
    """What is, beside what is declared."""

    host: HostFacts
    gpu: GpuFacts
    model: ModelFacts

    def as_dict(self) -> dict[str, Any]:
        """The same for ``--json``; paths are left for the encoder."""
        return asdict(self)


def read_facts(config: RigConfig) -> Facts:
    """The facts that the checks need. Cards are asked only where the engine uses them. Raises nothing."""
    cuda = config.engine.device == "cuda"
    return Facts(
        host=read_host_facts(config.state_dir.absolute()),
        gpu=read_gpu_facts() if cuda else GpuFacts(reason="engine.device is cpu: the cards were not asked"),
        model=read_model_facts(config.model.path),
    )


def run_checks(config: RigConfig, facts: Facts | None = None) -> list[Finding]:
    """All findings, the engine's first. ``facts`` default to those of this machine. Raises nothing."""
    facts = facts or read_facts(config)
    return [
        *check_engine(config.engine),
        *check_checkpoint(config, facts.model),
        *check_cards(config, facts.gpu, facts.model),
        *check_memory(config, facts.host, facts.model),
        *check_state(config.state_dir, facts.host.disk),
        *check_port(config.server),
    ]


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

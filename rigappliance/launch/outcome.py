"""How a launch ended."""

from __future__ import annotations

from dataclasses import dataclass

from rigappliance.diagnosis.finding import LOG
from rigappliance.diagnosis.result import Diagnosis, Evidence
from rigappliance.diagnosis.textline import body_of, clean
from rigappliance.errors import ExitCode

# These say of themselves no more than how it ended, which the codes for that say as well.
WITHOUT_CODE = ("unknown", "stopped")
EVIDENCE_CHARS = 300


@dataclass(frozen=True)
class Ending:
    """What the supervisor saw, before anybody asks why.

    ``exit_status`` is that of an engine that had left by itself by then;
    ``quiet_s`` and ``probe`` are those of :class:`Observations`.
    """

    code: ExitCode
    what: str
    remedy: str = ""
    quiet_s: float | None = None
    probe: str = ""
    core_dead: bool = False
    exit_status: int | None = None

    @property
    def asked(self) -> bool:
        return self.code in (ExitCode.OK, ExitCode.INTERRUPTED)


@dataclass(frozen=True)
class Outcome:
    """``message`` is the sentence for the operator; ``exit_code`` is what systemd acts on."""

    ending: ExitCode | int
    message: str
    remedy: str = ""
    diagnosis: Diagnosis | None = None

    @property
    def exit_code(self) -> int:
        """The cause's own, where it has one."""
        if self.diagnosis is None or self.diagnosis.cause.name in WITHOUT_CODE or self.ending == ExitCode.GIVEN_UP:
            return int(self.ending)
        return self.diagnosis.cause.exit_code

    @property
    def kind(self) -> str:
        """How it ended, in a word."""
        if self.ending == ExitCode.OK:
            return "stopped"
        return ExitCode(self.ending).name.lower().replace("_", "-") if self.ending in set(ExitCode) else "refused"


def diagnosed(ending: Ending, diagnosis: Diagnosis, log_file: object) -> Outcome:
    """``ending`` with its cause, the best of the evidence, and what to do."""
    cause = diagnosis.cause
    message = f"{ending.what}: {cause.title}"
    evidence = best_evidence(diagnosis)
    if evidence and evidence not in message:
        message += f": {evidence}"
    remedy = diagnosis.remedy or cause.remedy or ending.remedy
    return Outcome(ending.code, message, f"{remedy}; the engine's log is {log_file}", diagnosis)


def best_evidence(diagnosis: Diagnosis) -> str:
    """The engine's own words where they speak for the cause, else the first of the evidence; of last lines the last."""
    spoken: list[Evidence] = [each for each in diagnosis.evidence if each.source == LOG]
    numbered = [each for each in spoken if each.line is not None]
    for each in numbered or spoken[::-1] or diagnosis.evidence:
        if text := " ".join(body_of(clean(each.text)).split()):
            return text if len(text) <= EVIDENCE_CHARS else text[: EVIDENCE_CHARS - 1] + "…"
    return ""

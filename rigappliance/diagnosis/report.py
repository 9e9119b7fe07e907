"""A diagnosis as a page to read, as JSON, and back."""

from __future__ import annotations

from typing import Any

from rigappliance.diagnosis.catalogue import CAUSES
from rigappliance.diagnosis.cause import Decision
from rigappliance.diagnosis.result import Confidence, Diagnosis, Evidence

DECISIONS = {
    Decision.RETRY: "start it again, after growing pauses",
    Decision.COMPACT: "compact the memory, then start it again",
    Decision.STOP: "no restart: it would fail in the same way until something is changed",
    Decision.NONE: "nothing to do",
}
# Longer lines are cut on the page; --json has all that was kept.
SHOWN_CHARS = 300
MOST_EVIDENCE = 40


def as_text(diagnosis: Diagnosis, head: str = "") -> str:
    """Several lines; ``head`` goes before them."""
    cause = diagnosis.cause
    lines = [head] if head else []
    lines.append(f"cause: {cause.title} ({cause.name}, {diagnosis.confidence})")
    if diagnosis.evidence:
        lines.append("evidence:")
        lines += [f"  {_source(item)}: {_cut(item.text)}" for item in diagnosis.evidence]
    if diagnosis.ruled_out:
        lines.append("ruled out:")
        lines += [f"  {clause}" for clause in diagnosis.ruled_out]
    lines.append(f"decision: {DECISIONS[diagnosis.decision]}")
    if diagnosis.remedy:
        lines.append(f"to do: {diagnosis.remedy}")
    return "\n".join(lines)


def as_dict(diagnosis: Diagnosis) -> dict[str, Any]:
    """For ``--json`` and for the failure record."""
    return {
        "cause": diagnosis.cause.name,
        "title": diagnosis.cause.title,
        "confidence": str(diagnosis.confidence),
        "decision": str(diagnosis.decision),
        "exit_code": diagnosis.cause.exit_code,
        "remedy": diagnosis.remedy,
        "evidence": [{"source": item.source, "text": item.text, "line": item.line} for item in diagnosis.evidence],
        "ruled_out": list(diagnosis.ruled_out),
    }


def from_dict(content: object) -> Diagnosis | None:
    """What ``as_dict`` made; None for anything else, such as a cause that this version does not know."""
    if not isinstance(content, dict):
        return None
    cause = CAUSES.get(content["cause"]) if isinstance(content.get("cause"), str) else None
    if cause is None:
        return None
    try:
        confidence = Confidence(str(content.get("confidence")))
    except ValueError:
        confidence = Confidence.POSSIBLE
    remedy = content.get("remedy")
    return Diagnosis(
        cause=cause,
        confidence=confidence,
        evidence=tuple(_evidence(content.get("evidence"))),
        ruled_out=tuple(_strings(content.get("ruled_out"))),
        remedy=remedy if isinstance(remedy, str) else cause.remedy,
    )


def _evidence(items: object) -> list[Evidence]:
    evidence = []
    for item in items[:MOST_EVIDENCE] if isinstance(items, list) else []:
        if not isinstance(item, dict):
            continue
        source, text, line = item.get("source"), item.get("text"), item.get("line")
        if isinstance(source, str) and isinstance(text, str):
            evidence.append(Evidence(source, text, line if isinstance(line, int) else None))
    return evidence


def _strings(items: object) -> list[str]:
    return [item for item in items[:MOST_EVIDENCE] if isinstance(item, str)] if isinstance(items, list) else []


def _source(item: Evidence) -> str:
    return f"{item.source}, line {item.line}" if item.line is not None else item.source


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_CHARS else f"{text[: SHOWN_CHARS - 1]}…"

"""What the cases become when the detectors of one cause are taken away.

python -m tests.unit.diagnosis.detectors
"""

from __future__ import annotations

from collections.abc import Iterator

from rigappliance.diagnosis.catalogue import CAUSES
from rigappliance.diagnosis.diagnose import diagnose
from rigappliance.diagnosis.rules import RULES, Rule
from rigappliance.diagnosis.signatures import SIGNATURES
from tests.unit.diagnosis.cases import Case, cases

# What is left when nothing is found has no detector.
UNDETECTED = "unknown"
DETECTED = sorted(set(CAUSES) - {UNDETECTED})


def answers_without(cause: str) -> Iterator[tuple[Case, str]]:
    """The cases of ``cause`` that get another answer without its signatures and rules, with that answer."""
    without = frozenset({cause})
    left = tuple(signature for signature in SIGNATURES if signature.cause != cause)
    for case in cases():
        if case.cause == cause:
            answer = diagnose(case.seen(left), without).cause.name
            if answer != cause:
                yield case, answer


def answers_without_rule(rule: Rule) -> Iterator[tuple[Case, str]]:
    """The cases that are answered wrongly where one rule is missing."""
    rules = tuple(other for other in RULES if other is not rule)
    for case in cases():
        answer = diagnose(case.seen(), rules=rules).cause.name
        if answer != case.cause:
            yield case, answer


def table() -> str:
    """Markdown: cause, cases that turn wrong without its detectors, and what they are called then."""
    lines = ["| cause | cases that turn red without its detectors | what they would be called |", "|---|---|---|"]
    for cause in DETECTED:
        answers = list(answers_without(cause))
        names = ", ".join(case.name for case, _ in answers)
        lines.append(f"| `{cause}` | {names} | {', '.join(sorted({answer for _, answer in answers}))} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())

"""A report as text and as JSON."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

from rigappliance.measure.byhand import against
from rigappliance.measure.compare import Comparison, compare
from rigappliance.measure.figures import PERCENTILES, Figure, Kind
from rigappliance.measure.identity import changes
from rigappliance.measure.run import Report, described
from rigappliance.units import format_size

TITLES: dict[Kind, tuple[str, str]] = {
    "prefill": ("prompts", "time to first token"),
    "decode": ("answers", "between tokens"),
}


def rate_against(report: Report, figure: Figure) -> Comparison | None:
    """Tokens a second against the earlier runs'."""
    others = [found for run in report.earlier if (found := run.figure(figure.kind, figure.concurrency))]
    return compare(figure.tokens_s, [each.tokens_s for each in others], more_is_better=True)


def delay_against(report: Report, figure: Figure) -> Comparison | None:
    """Time to first token, or between tokens, against the earlier runs'."""
    others = [found for run in report.earlier if (found := run.figure(figure.kind, figure.concurrency))]
    return compare(figure.typical_s, [each.typical_s for each in others], more_is_better=False)


def as_dict(report: Report) -> dict[str, Any]:
    """Figures as numbers, in seconds and tokens a second."""

    def compared(found: Comparison | None) -> dict[str, object] | None:
        return found.as_dict() if found else None

    figures = [
        {
            **each.as_dict(),
            "tokens_s_against": compared(rate_against(report, each)),
            "typical_s_against": compared(delay_against(report, each)),
        }
        for each in report.run.figures
    ]
    return {
        **report.run.as_dict(),
        "figures": figures,
        "starts": [each.as_dict() for each in report.starts],
        "earlier_runs": [each.started for each in report.earlier],
        "changed_since_last_run": changes(report.earlier[-1].settings, report.run.settings) if report.earlier else [],
        "by_hand": {name: {"here": value, "there": seen} for name, value, seen in beside_by_hand(report)},
        "kept": str(report.path) if report.path else None,
        "error": report.error.as_dict() if report.error else None,
    }


def as_text(report: Report) -> str:
    return "\n".join(lines(report))


def lines(report: Report) -> Iterator[str]:
    run = report.run
    key = run.key
    yield f"vLLM {key['engine']}, {key['layout']}; {key['host']}, cards: {key['cards']}"
    yield f"{run.date}, {described(run.workload)}" + ("" if run.complete else "; ended early")
    if report.starts:
        yield ""
        yield f"{'this start':<14}{'seconds':>8}   against earlier starts"
        for part in report.starts:
            yield f"{part.name:<14}{part.seconds:>8.1f}   {said(part.comparison)}"
    for kind, (title, delay) in TITLES.items():
        chosen = [each for each in run.figures if each.kind == kind]
        if chosen:
            yield ""
            yield from table(report, title, delay, chosen)
    yield ""
    yield from remarks(report)


def table(report: Report, title: str, delay: str, figures: list[Figure]) -> Iterator[str]:
    heads = "".join(f"{f'{percent} %':>9}" for percent in PERCENTILES)
    yield f"{'':<36}{delay:>36}   against earlier runs"
    yield f"{title:<14}{'tokens/s':>8}{'least to most':>15}{heads}{'most':>9}{'of':>7}   {'tokens/s':<16}delay"
    for each in figures:
        middle = statistics.median(each.tokens_s)
        span = f"{rate(min(each.tokens_s))} to {rate(max(each.tokens_s))}"
        shown = [each.percentiles_s.get(percent) for percent in PERCENTILES]
        delays = "".join(f"{delay_text(value):>9}" for value in [*shown, each.longest_s])
        name = f"{each.concurrency} at a time"
        verdicts = f"{said(rate_against(report, each)):<16}{said(delay_against(report, each))}"
        yield f"{name:<14}{rate(middle):>8}{span:>15}{delays}{each.values:>7}   {verdicts}".rstrip()


def remarks(report: Report) -> Iterator[str]:
    run = report.run
    if report.earlier:
        runs = f"{len(report.earlier)} earlier run{'s' if len(report.earlier) > 1 else ''} here"
        yield f"against {runs}, the last of {report.earlier[-1].date}; ~ +1% (12%): within a noise of 12 %"
        for change in changes(report.earlier[-1].settings, run.settings):
            yield f"  changed since then: {change}"
    else:
        yield "no earlier run of this machine, engine, model and layout to compare with"
    if report.reference:
        yield "against the reference rig, measured by hand:"
        for name, value, seen in beside_by_hand(report):
            there = " to ".join(f"{each:g}" for each in dict.fromkeys(seen))
            yield f"  {name}: {value:.4g} here, {there} there: {against(value, seen)}"
        yield f"  {report.reference.note}"
    shares = [each.client_share for each in run.figures]
    if shares:
        share, size = max(shares), format_size(run.client_peak_bytes)
        yield f"the client itself took up to {share:.0%} of this machine's CPU time, and {size} of memory"
    for note in run.notes:
        yield f"note: {note}"
    if report.path:
        yield f"kept as {report.path}"


def beside_by_hand(report: Report) -> Iterator[tuple[str, float, tuple[float, float]]]:
    """Name, this run's figure, and what was seen by hand, for what both know."""
    if report.reference is None:
        return
    names = {"load": "weights_s", "silent": "silent_s"}
    here = {names[part.name]: part.seconds for part in report.starts if part.name in names}
    for kind in TITLES:
        figure = report.run.figure(kind, 1)
        if figure:
            here[f"{kind}_tokens_s"] = statistics.median(figure.tokens_s)
    for name, value in here.items():
        yield name, value, report.reference.figures[name]


def said(found: Comparison | None) -> str:
    return str(found) if found else "–"


def rate(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def delay_text(seconds: float | None) -> str:
    """``–`` where so few values do not tell."""
    if seconds is None:
        return "–"
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"

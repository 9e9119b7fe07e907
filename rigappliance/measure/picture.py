"""A report as one SVG file: tokens a second and delays by concurrency, with earlier runs beside them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from rigappliance.measure.figures import Figure
from rigappliance.measure.page import TITLES, delay_text, rate
from rigappliance.measure.run import Report, described
from rigappliance.plan.picture import FONT, MARGIN, WIDTH, text

PANEL, LABEL, ROW, BAR = (WIDTH - 2 * MARGIN) // 2, 90, 30, 16
ROOM = PANEL - LABEL - 130
# Okabe and Ito's, which stay apart for eyes that do not tell red from green.
COLOURS = {"prefill": "#0072b2", "decode": "#e69f00"}
EARLIER, INK = "#7f7f7f", "#000000"
# No more of them than can be told apart.
RUNS_SHOWN = 5


@dataclass(frozen=True)
class Bar:
    """One value with its spread; ``earlier``: the medians of earlier runs."""

    label: str
    value: float
    least: float
    most: float
    earlier: tuple[float, ...]
    said: str


def picture(report: Report) -> str:
    """The text of the file. Each panel has a scale of its own that begins at zero."""
    run = report.run
    y = MARGIN + 14
    parts = [text(MARGIN, y, f"vLLM {run.key['engine']}, {run.key['layout']}; {run.key['host']}", bold=True)]
    y += 20
    parts.append(text(MARGIN, y, f"{run.date}, {described(run.workload)}"))
    y += 24
    for kind, (title, delay) in TITLES.items():
        figures = [each for each in run.figures if each.kind == kind]
        if not figures:
            continue
        parts.append(text(MARGIN, y, f"{title}: tokens/s", bold=True))
        parts.append(text(MARGIN + PANEL, y, f"{title}: {delay}, median and spread of rounds", bold=True))
        y += 8
        parts += panel(MARGIN, y, [rate_bar(report, each) for each in figures], COLOURS[kind])
        parts += panel(MARGIN + PANEL, y, [delay_bar(report, each) for each in figures], COLOURS[kind])
        y += ROW * len(figures) + 24
    parts += [
        f"<path d='M{MARGIN + 4} {y - 11}V{y + 3}' stroke='{EARLIER}' stroke-width='2'/>",
        text(MARGIN + 17, y, f"earlier runs: {len(report.earlier)}; thin line: least to most of this run's rounds"),
    ]
    y += 20
    head = f"<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{y}' viewBox='0 0 {WIDTH} {y}' {FONT}>"
    return "\n".join([head, f"<rect width='{WIDTH}' height='{y}' fill='white'/>", *parts, "</svg>", ""])


def rate_bar(report: Report, figure: Figure) -> Bar:
    values = figure.tokens_s
    others = [other.tokens_s for run in report.earlier if (other := run.figure(figure.kind, figure.concurrency))]
    return bar_of(figure.concurrency, values, others, rate(statistics.median(values)))


def delay_bar(report: Report, figure: Figure) -> Bar:
    values = figure.typical_s
    others = [other.typical_s for run in report.earlier if (other := run.figure(figure.kind, figure.concurrency))]
    return bar_of(figure.concurrency, values, others, delay_text(statistics.median(values)) if values else "–")


def bar_of(concurrency: int, values: Sequence[float], others: Sequence[Sequence[float]], said: str) -> Bar:
    earlier = tuple(statistics.median(each) for each in others[-RUNS_SHOWN:] if each)
    middle, least, most = (statistics.median(values), min(values), max(values)) if values else (0.0, 0.0, 0.0)
    return Bar(f"{concurrency} at a time", middle, least, most, earlier, said)


def panel(left: int, top: int, bars: Sequence[Bar], colour: str) -> list[str]:
    most = max((value for bar in bars for value in (bar.most, *bar.earlier)), default=0.0)
    scale = ROOM / most if most else 0.0
    begin = left + LABEL
    parts = []
    for place, bar in enumerate(bars):
        y = top + place * ROW + 6
        middle = y + BAR / 2
        parts.append(text(left, y + 13, bar.label))
        parts.append(
            f"<rect x='{begin}' y='{y}' width='{bar.value * scale:.1f}' height='{BAR}' fill='{colour}'>"
            f"<title>{bar.label}: {bar.said}</title></rect>"
        )
        span = f"M{begin + bar.least * scale:.1f} {middle}H{begin + bar.most * scale:.1f}"
        parts.append(f"<path d='{span}' stroke='{INK}' stroke-width='1.5'/>")
        for value in bar.earlier:
            x = begin + value * scale
            parts.append(f"<path d='M{x:.1f} {y - 3}V{y + BAR + 3}' stroke='{EARLIER}' stroke-width='2'/>")
        end = begin + max(bar.value, bar.most, *bar.earlier) * scale
        parts.append(text(round(end) + 8, y + 13, bar.said))
    return parts

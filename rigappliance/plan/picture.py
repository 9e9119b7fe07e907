"""Ledgers as stacked bars in one SVG file: what uses each card, and the host, against what they have."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from rigappliance.plan.ledger import Ledger
from rigappliance.units import format_size

WIDTH, LABEL, ROW, GAP, MARGIN = 960, 150, 26, 10, 16
BAR = WIDTH - LABEL - 2 * MARGIN - 150
# Colours that stay apart for eyes that do not tell red from green (Okabe and Ito's set, darkened where needed).
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b0a000", "#7f7f7f", "#332288", "#88ccee")
FONT = "font-family='DejaVu Sans, Verdana, sans-serif' font-size='12'"


def picture(title: str, verdict: str, groups: Sequence[Sequence[Ledger]]) -> str:
    """The text of the file. Bars of one group have one scale, so that a bar that is too long shows as such."""
    names = list(dict.fromkeys(line.name for group in groups for ledger in group for line in ledger.lines))
    colour = {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(names)}
    parts: list[str] = []
    y = MARGIN + 14
    parts.append(text(MARGIN, y, title, bold=True))
    y += 20
    parts.append(text(MARGIN, y, verdict))
    y += 16
    for group in groups:
        most = max((max(ledger.capacity_bytes, ledger.used_bytes) for ledger in group), default=0)
        for ledger in group:
            parts += bar(ledger, y, most, colour)
            y += ROW + GAP
        y += GAP
    y, legend = key(names, colour, y)
    parts += legend
    head = f"<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{y}' viewBox='0 0 {WIDTH} {y}' {FONT}>"
    return "\n".join([head, f"<rect width='{WIDTH}' height='{y}' fill='white'/>", *parts, "</svg>", ""])


def bar(ledger: Ledger, y: int, most: int, colour: dict[str, str]) -> list[str]:
    """One ledger, and a mark where its memory ends."""
    scale = BAR / most if most else 0.0
    left = MARGIN + LABEL
    x = float(left)
    parts = [text(MARGIN, y + 17, ledger.owner)]
    for line in ledger.lines:
        width = line.size_bytes * scale
        said = escape(f"{line.name}: {format_size(line.size_bytes)} ({line.basis}) {line.note}".strip())
        parts.append(
            f"<rect x='{x:.1f}' y='{y}' width='{width:.1f}' height='{ROW}' fill='{colour[line.name]}'>"
            f"<title>{said}</title></rect>"
        )
        x += width
    end = left + ledger.capacity_bytes * scale
    ink = "#c00000" if ledger.free_bytes < 0 else "#000000"
    parts.append(f"<path d='M{end:.1f} {y - 3}V{y + ROW + 3}' stroke='{ink}' stroke-width='2'/>")
    free = ledger.free_bytes
    said = f"{format_size(free)} free" if free >= 0 else f"{format_size(-free)} too much"
    parts.append(text(round(max(x, end)) + 8, y + 17, said, ink))
    return parts


def key(names: list[str], colour: dict[str, str], y: int) -> tuple[int, list[str]]:
    """The legend, and where it ends."""
    parts = []
    x = MARGIN
    for name in names:
        width = 30 + 8 * len(name)
        if x + width > WIDTH - MARGIN:
            x, y = MARGIN, y + 20
        parts.append(f"<rect x='{x}' y='{y}' width='12' height='12' fill='{colour[name]}'/>")
        parts.append(text(x + 17, y + 11, name))
        x += width
    return y + 28, parts


def text(x: int, y: int, words: str, ink: str = "#000000", *, bold: bool = False) -> str:
    weight = " font-weight='bold'" if bold else ""
    return f"<text x='{x}' y='{y}' fill='{ink}'{weight}>{escape(words)}</text>"

"""The demo's report as an operator reads it, and as a picture for a page."""

from __future__ import annotations

import io
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console, Group
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rigappliance.launch.treememory import ProcessMemory
from rigappliance.units import format_duration, format_size

WIDTH = 96


@dataclass
class Report:
    """What the demo saw. Seconds and bytes."""

    answer: str
    answer_is_right: bool
    time_to_ready_s: float
    phases: list[tuple[str, float]]
    processes: list[ProcessMemory]
    completion_tokens: int
    first_token_s: float
    tokens_per_s: float
    stop_s: float
    left_processes: int
    left_shared_memory: int
    total_s: float


def phase_table(report: Report) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(min_width=14)
    table.add_column(justify="right", min_width=8)
    table.add_column(min_width=40)
    longest = max((seconds for _, seconds in report.phases), default=1.0)
    for name, seconds in report.phases:
        table.add_row(name, f"{seconds:.1f} s", ProgressBar(total=longest, completed=seconds, width=40))
    table.add_row(Text("ready", style="bold green"), f"{report.time_to_ready_s:.1f} s", "proved by a completion")
    return table


def memory_table(report: Report) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(min_width=14)
    table.add_column(justify="right", min_width=8)
    for process in report.processes:
        table.add_row(process.name, format_size(process.pss_bytes))
    table.add_row(Text("together", style="bold"), format_size(sum(p.pss_bytes for p in report.processes)))
    return table


def picture_of(report: Report) -> Group:
    right = "the answer that its weights were built to give" if report.answer_is_right else "NOT the known answer"
    first = f"{report.completion_tokens} tokens, first after {report.first_token_s:.2f} s"
    rate = f"{first}; {report.tokens_per_s:.0f} tokens/s"
    stop = (
        f"stopped in {format_duration(report.stop_s)}; left behind: {report.left_processes} processes, "
        f"{report.left_shared_memory} shared memory segments"
    )
    return Group(
        Panel(phase_table(report), title="phases", title_align="left", border_style="cyan"),
        Panel(memory_table(report), title="memory (PSS)", title_align="left", border_style="cyan"),
        Panel(
            Group(Text(report.answer, style="bold"), Text(f"{right} · {rate}", style="dim")),
            title="answer",
            title_align="left",
            border_style="green" if report.answer_is_right else "red",
        ),
        Text(f"{stop}; {format_duration(report.total_s)} in all"),
    )


def show(report: Report, picture: Path | None) -> None:
    """Print the report, and write it as SVG to ``picture`` if that is given."""
    content = picture_of(report)
    Console(file=sys.stdout, width=WIDTH if not sys.stdout.isatty() else None).print(content)
    if picture:
        canvas = Console(file=io.StringIO(), width=WIDTH, record=True, force_terminal=True)
        canvas.print(Text("$ rigappliance demo", style="bold"))
        canvas.print(content)
        picture.write_text(without_web_fonts(canvas.export_svg(title="rigappliance demo")), encoding="utf-8")


def without_web_fonts(svg: str) -> str:
    """A picture that loads nothing from elsewhere: the viewer's own monospace font does."""
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)

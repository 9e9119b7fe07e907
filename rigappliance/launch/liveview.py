"""The live view on a terminal: the log scrolls, a panel with bars stays below it."""

from __future__ import annotations

import io
import shutil
import time

import psutil
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rigappliance.launch.logpump import Passthrough
from rigappliance.launch.phases import Phase
from rigappliance.launch.snapshot import Snapshot, progress, time_left
from rigappliance.units import format_duration, format_size

# On two cores the model needs the time more than the picture does.
REDRAW_S = 0.5


def bar_of(share: float | None, width: int = 24) -> RenderableType:
    """A bar, pulsing where the share is unknown."""
    if share is None:
        return ProgressBar(total=None, width=width, pulse=True, animation_time=time.monotonic())
    return ProgressBar(total=1.0, completed=share, width=width)


def phase_rows(snapshot: Snapshot) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(min_width=14)
    table.add_column(min_width=24)
    table.add_column(justify="right", min_width=10)
    table.add_column()
    for phase in Phase:
        if phase is Phase.READY:
            continue
        seconds = snapshot.durations_s.get(phase)
        if phase is snapshot.phase:
            table.add_row(
                Text(phase.label, style="bold cyan"),
                bar_of(snapshot.share),
                format_duration(snapshot.in_phase_s),
                progress(snapshot),
            )
        elif seconds is not None:
            table.add_row(Text(phase.label, style="green"), bar_of(1.0), format_duration(seconds), "")
        elif phase > snapshot.phase:
            table.add_row(Text(phase.label, style="dim"), "", "", "")
    return table


def memory_row(snapshot: Snapshot) -> Text:
    ram, swap = psutil.virtual_memory(), psutil.swap_memory()
    parts = [
        f"engine {format_size(snapshot.engine_rss_bytes)}",
        f"RAM {format_size(ram.total - ram.available)} of {format_size(ram.total)}",
        f"swap {format_size(swap.used)} of {format_size(swap.total)}",
        f"read {format_size(snapshot.engine_read_bytes)}",
    ]
    if snapshot.vram_used_bytes:
        parts.append(f"VRAM {format_size(snapshot.vram_used_bytes)}")
    return Text(" · ".join(parts), style="dim")


def panel(snapshot: Snapshot, title: str = "starting") -> Panel:
    """The whole picture of a start at one moment."""
    last = f"elapsed {format_duration(snapshot.elapsed_s)}"
    if snapshot.phase is not Phase.READY:
        last += f", {time_left(snapshot)} ({snapshot.estimate.basis})"
    if snapshot.quiet_s > 30:
        last += f", nothing moved for {format_duration(snapshot.quiet_s)}"
    content = Group(phase_rows(snapshot), Text(last), memory_row(snapshot))
    return Panel(content, title=title, title_align="left", border_style="cyan")


class LiveView:
    """Writes log lines above a region that it redraws in place."""

    def __init__(self) -> None:
        self.passthrough = Passthrough(1)
        self._rows = 0
        self._drawn_s = 0.0
        self._partial = b""
        self._snapshot: Snapshot | None = None

    def log(self, data: bytes) -> None:
        # Only whole lines can stand above the region; a bar's carriage return
        # would overwrite it, so that each of its states becomes a line.
        lines = (self._partial + data).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        cut = lines.rfind(b"\n") + 1
        self._partial = lines[cut:]
        if cut:
            self._above(lines[:cut])

    def line(self, text: str) -> None:
        self._above(f"rigappliance: {text}\n".encode())

    def update(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        if time.monotonic() - self._drawn_s >= REDRAW_S:
            self._write(self._erase() + self._draw())

    def ready(self, snapshot: Snapshot, text: str) -> None:
        self._write(self._erase() + render(panel(snapshot, "ready")))
        self._snapshot = None
        self.line(text)

    def close(self) -> None:
        self._snapshot = None
        self._write(self._erase() + self._partial)
        self._partial = b""
        self.passthrough.close()

    def _above(self, data: bytes) -> None:
        self._write(self._erase() + data + self._draw())

    def _draw(self) -> bytes:
        if self._snapshot is None:
            return b""
        self._drawn_s = time.monotonic()
        picture = render(panel(self._snapshot))
        self._rows = picture.count(b"\n")
        return picture

    def _erase(self) -> bytes:
        rows, self._rows = self._rows, 0
        # Up to the region's first row, then clear to the end of the screen.
        return b"\x1b[%dF\x1b[J" % rows if rows else b""

    def _write(self, data: bytes) -> None:
        # A terminal can be paused (Ctrl-S); that must not pause the engine.
        if data:
            self.passthrough.put(data)


def render(picture: RenderableType) -> bytes:
    """Escape sequences for the terminal's present width."""
    out = io.StringIO()
    width = min(shutil.get_terminal_size((100, 24)).columns, 120)
    Console(file=out, force_terminal=True, width=width, color_system="standard").print(picture)
    return out.getvalue().encode()

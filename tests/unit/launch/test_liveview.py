"""The live view: whole lines of the log above a panel that is redrawn in place."""

from __future__ import annotations

import re

import pytest

from rigappliance.launch import liveview
from rigappliance.launch.history import Estimate
from rigappliance.launch.liveview import LiveView
from rigappliance.launch.phases import Bar, Phase
from rigappliance.launch.snapshot import Snapshot


class Terminal:
    """What was written, as the terminal would show it: escape sequences move up and clear, as the view uses them."""

    def __init__(self, *_: object) -> None:
        self.rows: list[str] = [""]

    def put(self, data: bytes) -> None:
        for piece in re.split(r"(\x1b\[\d+F\x1b\[J|\x1b\[[\d;]*m|\n)", data.decode()):
            if up := re.fullmatch(r"\x1b\[(\d+)F\x1b\[J", piece):
                assert int(up[1]) < len(self.rows), "it clears no more than it drew"
                self.rows = [*self.rows[: len(self.rows) - 1 - int(up[1])], ""]
            elif piece == "\n":
                self.rows.append("")
            elif not piece.startswith("\x1b"):
                self.rows[-1] += piece

    def close(self) -> None:
        self.rows.append("closed")


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    terminal = Terminal()
    monkeypatch.setattr(liveview, "Passthrough", lambda *_: terminal)
    monkeypatch.setattr(liveview, "REDRAW_S", 0.0)
    return terminal


def snapshot(phase: Phase = Phase.WEIGHTS, bar: Bar | None = None) -> Snapshot:
    return Snapshot(phase, 65.0, 5.0, bar, False, 2 << 30, Estimate(90.0, "1 earlier start here"), quiet_s=45.0)


def test_bytes_that_the_loader_read_are_shown_as_such(terminal: Terminal) -> None:
    view = LiveView()
    view.update(snapshot(bar=Bar(512 << 20, 2 << 30, in_bytes=True)))
    view.line("words")
    assert "512.0 MiB of 2.0 GiB read" in "\n".join(terminal.rows)


def test_the_log_scrolls_and_the_panel_stays_below_it(terminal: Terminal) -> None:
    view = LiveView()
    view.update(snapshot(bar=Bar(1, 4)))
    view.log(b"one\ntwo, cut")
    view.update(snapshot(bar=Bar(2, 4)))
    view.log(b" in halves\r\nbar 1\rbar 2\r")
    view.line("words of our own")
    whole = [row for row in terminal.rows if row]
    assert whole[:5] == ["one", "two, cut in halves", "bar 1", "bar 2", "rigappliance: words of our own"]
    panel = "\n".join(whole[5:])
    assert panel.count("starting") == 1
    assert "2/4 shards, 1.0 GiB of 2.0 GiB" in panel
    assert "1 min 30 s left" in panel
    assert "nothing moved for 45 s" in panel


def test_at_the_end_the_panel_is_gone_and_nothing_of_the_log_is_lost(terminal: Terminal) -> None:
    view = LiveView()
    view.update(snapshot())
    view.log(b"last words without an end")
    view.close()
    assert [row for row in terminal.rows if row] == ["last words without an end", "closed"]


def test_ready_leaves_its_panel_and_draws_no_other(terminal: Terminal) -> None:
    view = LiveView()
    view.update(snapshot())
    view.ready(snapshot(Phase.READY), "ready after 65 s")
    view.log(b"a request\n")
    text = "\n".join(terminal.rows)
    assert text.count("╭") == 1
    assert "ready" in text
    assert text.rstrip().endswith("rigappliance: ready after 65 s\na request")

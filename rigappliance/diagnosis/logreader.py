"""Reads an engine's log, a line at a time, and keeps what matters for its end.

It runs on every line inside the supervisor, on machines with two slow cores.
So a line is first asked for a few fragments that all signatures share between
them, and only one that has such a fragment is looked at closely.
"""

from __future__ import annotations

import re
from collections import Counter, deque

from rigappliance.diagnosis.logevidence import Hit, LogEvidence
from rigappliance.diagnosis.lookup import table_of
from rigappliance.diagnosis.signature import Role, Signature
from rigappliance.diagnosis.signatures import SIGNATURES
from rigappliance.diagnosis.stage import Stage
from rigappliance.diagnosis.textline import body_of, clean, level_of

# Of a longer line only the beginning is read, and of one that is kept only this much is kept.
LINE_CHARS = 1 << 12
KEPT_CHARS = 600
LAST_LINES = 20
HITS_EACH = 3
HITS = 200
# Of the stack that Python prints as it crashes, so many frames, as hits of this name.
CRASH_FRAMES = 4
FRAME = "crash-frame"

_HARMLESS = ("DEBUG", "INFO", "WARNING")
_TRACEBACK = "Traceback (most recent call last)"
_FRAME = '", line '
_SERVED = re.compile(r'"POST /(?:v1|v2|generate|invocations)\S* HTTP/[\d.]+" 200')
_BARS = ("it/s]", "s/it]", "?it/s", "B/s]")
_STOPPED = re.compile(
    r"trigger received signal=SIG(?:TERM|INT)|API server: shutdown triggered|INFO: +Shutting down|Shutting down FastAPI"
    r"|Received (?:SIGTERM|SIGINT|KeyboardInterrupt)|^KeyboardInterrupt"
)


class LogReader:
    """Feed it lines; ask for the evidence at any time. It never raises, and its memory is bounded."""

    def __init__(self, signatures: tuple[Signature, ...] = SIGNATURES) -> None:
        self._table = table_of(signatures)
        self._hits: list[Hit] = []
        self._earlier: tuple[Hit, ...] = ()
        self._seen: Counter[str] = Counter()
        self._last: deque[str] = deque(maxlen=LAST_LINES)
        self._lines = 0
        self._stage = Stage()
        self._echo = False
        self._crash_frames = 0
        self._from_start = False
        self._serving = False
        self._stopping = False
        self._late: Hit | None = None

    def feed(self, line: str, number: int | None = None) -> None:
        """Take one line. ``number`` is its place in the file where the caller counts otherwise."""
        self._lines = self._lines + 1 if number is None else number
        if len(line) > LINE_CHARS:
            line = line[:LINE_CHARS]
        if "\r" in line:
            for piece in line.split("\r"):
                self._take(piece)
        else:
            self._take(line)

    def evidence(self) -> LogEvidence:
        # A last start that says nothing yet leaves the word to the one before it.
        quiet = not (self._hits or self._serving or self._stopping)
        return LogEvidence(
            hits=self._earlier if quiet else tuple(self._hits),
            last_lines=tuple(clean(line)[:KEPT_CHARS].rstrip() for line in self._last),
            lines=self._lines,
            from_start=self._from_start,
            serving=self._serving,
            stopping=self._stopping,
            late=self._late,
        )

    def _take(self, line: str) -> None:
        if not line or line.isspace():
            return
        if ("/s" in line or "/it]" in line) and any(bar in line for bar in _BARS):
            return
        if "\x1b" in line or line.startswith('{"'):
            line = clean(line)
        self._last.append(line)
        if _FRAME in line and ", in " in line:
            self._stage.frame(line)
            self._echo = True
            return
        self._milestones(line)
        if self._crash_frames and 'File "' in line:
            self._crash_frames -= 1
            self._hits.append(Hit(FRAME, "", self._lines, _kept(line), Role.NOTE))
            return
        # Most lines are the engine's own and no errors: one look at their level is cheaper than all signatures.
        table = self._table
        level = level_of(line) if _has_level(line) else ""
        warned = level == "WARNING" and any(text in line for text in table.warnings)
        if level in _HARMLESS and not warned:
            self._echo = False
            return
        near = [group for gate, group in table.gated if gate in line]
        near.append(table.ungated)
        best: tuple[int, Signature] | None = None
        for group in near:
            for place, text, signature in group:
                if text in line and (best is None or place < best[0]):
                    pattern = table.patterns[place]
                    if pattern is None or pattern.search(line):
                        best = place, signature
                        break
        if best is not None and (best[1].warning or not warned):
            if self._counts(best[1]):
                self._keep(line, best[1])
            elif self._stopping and best[1].role is Role.NOTE:
                self._late = Hit(best[1].name, "", self._lines, _kept(line), Role.NOTE)
        self._echo = False

    def _milestones(self, line: str) -> None:
        if _TRACEBACK in line:
            self._stage.new_traceback()
        elif "non-default args" in line or "vLLM API server version" in line:
            # A log may hold one start after another, and the last one is asked about.
            self._earlier = tuple(self._hits) if self._fatal() else self._earlier
            self._forget()
            self._from_start, self._serving, self._stopping, self._late = True, False, False, None
        elif "Application startup complete" in line:
            # What failed before it did not matter.
            self._serving = True
            self._forget()
        elif self._serving and '"POST /' in line and _SERVED.search(line) and not self._ended():
            # It still answers, so what an earlier request met did not end it.
            self._forget()
        elif not self._stopping and ("hut" in line or "eceived" in line or "KeyboardInterrupt" in line):
            self._stopping = bool(_STOPPED.search(line)) and not self._fatal()

    def _fatal(self) -> bool:
        return any(hit.role in (Role.ROOT, Role.CONSEQUENCE) for hit in self._hits)

    def _ended(self) -> bool:
        return any(hit.role is Role.CONSEQUENCE for hit in self._hits)

    def _forget(self) -> None:
        self._hits.clear()
        self._seen.clear()
        self._stage.new_traceback()

    def _counts(self, signature: Signature) -> bool:
        if signature.role is Role.NOTHING:
            return False
        if self._stopping and (self._serving or signature.role is not Role.ROOT):
            return False
        return len(self._hits) < HITS and self._seen[signature.name] < HITS_EACH

    def _keep(self, line: str, signature: Signature) -> None:
        cause, role = signature.cause, signature.role
        if self._echo and body_of(line).startswith("    "):
            # A traceback shows the source of the line that raised, which tells less than what it raised.
            if role is not Role.ROOT:
                return
            role = Role.HINT
        if cause == "card-memory" and self._stage.stage:
            cause = f"card-memory-{self._stage.stage}"
        self._seen[signature.name] += 1
        if signature.source == "faulthandler":
            self._crash_frames = CRASH_FRAMES
        self._hits.append(Hit(signature.name, cause, self._lines, _kept(line), role))


def _has_level(line: str) -> bool:
    """Whether it is worth asking for its level: only those below ERROR matter."""
    return "INFO" in line or "WARN" in line or "DEBUG" in line or "[W" in line or line.startswith(("W", "I", "[I"))


def _kept(line: str) -> str:
    return clean(line).strip()[:KEPT_CHARS]

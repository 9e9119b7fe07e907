"""A line of a log without what its way here has put around it."""

from __future__ import annotations

import json
import re

# Colours, cursor movements and titles, as terminals understand them.
_ESCAPES = re.compile(r"\x1b(?:\[[0-9;:?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_])")
# vLLM's own format: level, date, time, module and line. Older versions had no module, or put a colon after the level.
_LEVEL = re.compile(r"\b(DEBUG|INFO|WARNING|ERROR|CRITICAL):? +(?:\d{4}-)?\d\d-\d\d \d\d:\d\d:\d\d(?:[.,]\d+)?\b")
_MODULE = re.compile(r" \[[^\]\s]{1,80}:\d+\] ?| [\w.]{1,80}\.py:\d+\] ?")
# uvicorn's and Python's own: the level and a colon, then the text or the logger's name.
_LEVEL_COLON = re.compile(r"(?:^|[\s|])(DEBUG|INFO|WARNING|ERROR|CRITICAL):(?: +\S|[\w.]+:)")
# Of torch and NCCL: a letter before the date, and a word behind the name.
_GLOG = re.compile(r"(?:^|[\s:])\[?([IWEF])\d{4} \d\d:\d\d:\d\d\.\d")
_GLOG_LEVELS = {"I": "INFO", "W": "WARNING", "E": "ERROR", "F": "CRITICAL"}
_NCCL = re.compile(r"\bNCCL (INFO|WARN)\b")
# Anybody's: a time, perhaps a name, a level.
_AFTER_TIME = re.compile(r"\d\d:\d\d:\d\d\S* .{0,40}?\b(DEBUG|INFO|WARNING|ERROR|CRITICAL)\b(?: -|\]|:| \|)")
# Where a level can stand at all: behind the prefixes of a journal, of docker or Kubernetes and of the process.
_PREFIX_CHARS = 240


def clean(line: str) -> str:
    """Without colours, and out of the JSON in which docker keeps it."""
    if "\x1b" in line:
        line = _ESCAPES.sub("", line)
    if line.startswith('{"') and '"log":' in line:
        try:
            text = json.loads(line).get("log")
        except (ValueError, AttributeError, RecursionError):
            return line
        if isinstance(text, str):
            return clean(text.rstrip("\n")) if not text.startswith('{"') else text
    return line


def level_of(line: str) -> str:
    """``INFO``, ``ERROR``…, or nothing where the line has no level."""
    head = line[:_PREFIX_CHARS]
    if match := _LEVEL.search(head) or _LEVEL_COLON.search(head):
        return match[1]
    if match := _GLOG.search(head):
        return _GLOG_LEVELS[match[1]]
    if match := _NCCL.search(head):
        # Its warnings are its errors.
        return "INFO" if match[1] == "INFO" else "ERROR"
    match = _AFTER_TIME.search(head)
    return match[1] if match else ""


def body_of(line: str) -> str:
    """What follows the level, the time and the module, with its indentation."""
    match = _LEVEL.search(line[:_PREFIX_CHARS])
    if not match:
        return line
    rest = line[match.end() :]
    module = _MODULE.match(rest)
    return rest[module.end() :] if module else rest

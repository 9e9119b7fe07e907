"""Is tokenizer.json a JSON object to its end?"""

from __future__ import annotations

import json
import os
from pathlib import Path

FILE = "tokenizer.json"
END_BYTES = 256


def tokenizer_damage(directory: Path, *, parse: bool = False) -> str | None:
    """What is wrong with it, or ``None``, also where there is none.

    Without ``parse`` its two ends are read, which shows a download that was cut
    short; with it the whole file, which takes a tenth of a second for ten
    megabytes.  Raises nothing.
    """
    try:
        with (directory / FILE).open("rb") as file:
            if parse:
                return parsed_damage(file.read())
            start = file.read(END_BYTES).lstrip()
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - END_BYTES))
            end = file.read().rstrip()
    except OSError:
        # Missing and unreadable files are the checkpoint's facts already.
        return None
    if not start:
        return "the file is empty"
    if not start.startswith(b"{"):
        return "it does not begin as a JSON object"
    return None if end.endswith(b"}") else "it does not end as a JSON object: cut short"


def parsed_damage(content: bytes) -> str | None:
    if not content.strip():
        return "the file is empty"
    try:
        tree = json.loads(content)
    except (ValueError, RecursionError) as error:
        return f"no JSON: {error}"
    if not isinstance(tree, dict):
        return f"it holds a {type(tree).__name__}, not an object"
    return None if isinstance(tree.get("model"), dict) else "it has no object named model, so it is no tokenizer"

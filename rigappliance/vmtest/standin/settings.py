"""What the stand-in is told: a JSON object in a file that may change while it serves."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

VARIABLE = "RIGAPPLIANCE_STANDIN"
DEFAULT_FILE = "/etc/rigappliance-standin.json"
RECORDINGS = "RIGAPPLIANCE_STANDIN_RECORDINGS"


class Settings:
    """Keys by name. ``changed`` keys (a fault's doing) win over the file's."""

    def __init__(self) -> None:
        self.file = Path(os.environ.get(VARIABLE) or DEFAULT_FILE)
        self.content: dict[str, Any] = {}
        self.changed: dict[str, Any] = {}
        self._seen: tuple[int, int] | None = None
        self.refresh()

    def refresh(self) -> None:
        """Read the file again if it is another one; while it is half written, the old content holds."""
        try:
            status = self.file.stat()
            seen = (status.st_mtime_ns, status.st_ino)
            if seen == self._seen:
                return
            content = json.loads(self.file.read_text())
        except FileNotFoundError:
            content, seen = {}, None
        except (OSError, ValueError):
            return
        if isinstance(content, dict):
            self.content, self._seen = content, seen

    def get(self, key: str, default: Any = None) -> Any:
        return self.changed.get(key, self.content.get(key, default))

    @property
    def faults(self) -> list[dict[str, Any]]:
        told = self.get("faults", [])
        return [fault for fault in told if isinstance(fault, dict)] if isinstance(told, list) else []

    @property
    def recordings(self) -> Path:
        """Where the recordings are: told, beside this package as a layout puts them, or in the source tree."""
        told = os.environ.get(RECORDINGS) or self.get("recordings")
        if told:
            return Path(str(told))
        here = Path(__file__).resolve().parent
        beside = here.parent / "recordings"
        return beside if beside.is_dir() else here.parents[2] / "tests/recordings"

"""The recorded exposition of a real server, with this one's name and counters."""

from __future__ import annotations

import re
import threading
from pathlib import Path

# What moves, by the name of the metric.
PROMPT = "vllm:prompt_tokens_total"
GENERATED = "vllm:generation_tokens_total"
SUCCESS = "vllm:request_success_total"
RUNNING = "vllm:num_requests_running"
FILE = "metrics-0.32.0.txt"


class Metrics:
    """Counters of the server's life."""

    def __init__(self, recordings: Path, name: str) -> None:
        self.lock = threading.Lock()
        self.counted: dict[str, float] = {PROMPT: 0.0, GENERATED: 0.0, SUCCESS: 0.0, RUNNING: 0.0}
        self.file = recordings / FILE
        self.name = name

    def add(self, metric: str, amount: float) -> None:
        with self.lock:
            self.counted[metric] += amount

    def exposition(self) -> bytes:
        """As /metrics answers; read when it is first asked for."""
        try:
            lines = self.file.read_text().splitlines()
        except OSError:
            lines = [f'{metric}{{engine="0",model_name=""}} 0.0' for metric in self.counted]
        return "".join(f"{self._line(line)}\n" for line in lines).encode()

    def _line(self, line: str) -> str:
        line = re.sub(r'model_name="[^"]*"', lambda _: f'model_name="{self.name}"', line)
        metric, brace, labels = line.partition("{")
        if brace and metric in self.counted and 'finished_reason="' not in labels.replace('"length"', ""):
            return f"{line.rpartition(' ')[0]} {self.counted[metric]}"
        return line

"""How a launch ended."""

from __future__ import annotations

from dataclasses import dataclass

from rigappliance.errors import ExitCode


@dataclass(frozen=True)
class Outcome:
    """``message`` is the sentence for the operator; ``exit_code`` is what systemd acts on."""

    exit_code: ExitCode
    message: str
    remedy: str = ""

    @property
    def kind(self) -> str:
        return self.exit_code.name.lower().replace("_", "-") if self.exit_code else "stopped"

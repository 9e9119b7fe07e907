"""The verdict on each distribution, and the table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.noavx.emulator import Death
from bench.noavx.trial import Trial

USED = ("import ", "operation", "run ")


@dataclass(frozen=True)
class Package:
    """One distribution. ``here`` is this machine, where only failures count; ``erratum`` may be left out."""

    name: str
    version: str
    libraries: int
    programs: int
    here: Trial
    emulated: Trial
    erratum: Trial | None

    @property
    def not_tried(self) -> list[tuple[str, str]]:
        """Steps that fail on this machine too, and why."""
        return self.here.failed

    @property
    def differs(self) -> list[tuple[str, str]]:
        """Steps that fail on an emulator alone, and not from an illegal instruction."""
        elsewhere = {step for step, _ in self.here.failed}
        more = (
            [(f"erratum: {step}", error) for step, error in self.erratum.failed if step not in elsewhere]
            if self.erratum
            else []
        )
        return [(step, error) for step, error in self.emulated.failed if step not in elsewhere] + more

    @property
    def with_erratum(self) -> list[tuple[str, Death]]:
        """Steps that die with the erratum alone."""
        known = {step for step, _ in self.emulated.dead}
        return [(step, death) for step, death in self.erratum.dead if step not in known] if self.erratum else []

    @property
    def verdict(self) -> str:
        """``loads``: no more than that can be done here.

        ``dies only when loaded by hand``: no import and no operation loads the library that dies.
        """
        if any(step.startswith((*USED, "start")) for step, _ in self.emulated.dead):
            return "dies"
        if self.differs:
            return "fails otherwise"
        if self.emulated.dead:
            return "dies only when loaded by hand"
        if any(step.startswith(USED) for step in self.emulated.passed):
            return "passes"
        return "loads" if self.emulated.passed else "not tried"

    def line(self) -> str:
        """One line of the table, and one for each death."""
        steps = f"{len(self.emulated.passed)} of {len(self.emulated.passed) + len(self.emulated.dead)} steps"
        how = "operation" if "operation" in self.emulated.passed else ""
        more = [f"{step}: {place(death.library)}: {death.instruction}" for step, death in self.emulated.dead]
        more += [f"erratum: {step}: {place(d.library)}: {d.instruction}" for step, d in self.with_erratum]
        more += [f"{step}: {error}" for step, error in self.differs]
        head = f"{self.name:<29} {self.version:<19} {self.verdict:<30} {steps:<17} {how:<10}"
        head += f"{self.emulated.seconds:7.1f} s"
        return "\n".join([head, *(f"      {text[:300]}" for text in more)])

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "version": self.version,
            "verdict": self.verdict,
            "libraries": self.libraries,
            "programs": self.programs,
            "not_tried": [{"step": step, "error": error[:300]} for step, error in self.not_tried],
            "emulated": self.emulated.as_dict(),
            "erratum": self.erratum.as_dict() if self.erratum else None,
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Package:
        """A result of an earlier run."""
        return cls(
            stored["name"],
            stored["version"],
            stored["libraries"],
            stored["programs"],
            Trial(failed=[(one["step"], one["error"]) for one in stored["not_tried"]]),
            Trial.from_dict(stored["emulated"]),
            Trial.from_dict(stored["erratum"]) if stored["erratum"] else None,
        )


def place(library: str) -> str:
    """The path from the environment's packages on."""
    return library.partition("site-packages/")[2] or Path(library).name


def as_text(result: dict[str, Any], packages: Sequence[Package]) -> str:
    """The page beside the JSON."""
    lines = ["Packages with native code on an emulated Pentium G4400", ""]
    for processor, plants in result["planted"].items():
        lines += [f"Planted instructions, {processor}:", *(f"  {name:<10} {what}" for name, what in plants.items()), ""]
    lines += [package.line() for package in packages]
    lines += ["", "Not tried, for it fails on this machine too:"]
    lines += [
        f"  {one.name}: {step}: {' '.join(error.split())[:160]}" for one in packages for step, error in one.not_tried
    ]
    lines += ["", f"Native and not tried: {', '.join(result['native_not_tried']) or 'none'}"]
    lines += ["", f"Without native code: {', '.join(result['no_native_code'])}", ""]
    lines += ["Of engine/poetry.lock not tried here, or in another version:"]
    for one in result["of_the_lock_not_tried"]:
        kind = "native" if one["native"] else "no native code"
        lines.append(f"  {one['name']} {one['version']} ({kind}; here: {one['installed'] or 'absent'})")
    return "\n".join(lines) + "\n"

"""Tries one distribution on the emulated processor, and on this machine to know what fails here anyway."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.noavx.emulator import REPORT, Death, Emulator, Ended, death_of

GUEST = Path(__file__).resolve().parent / "guest.py"
TRIAL_LIMIT_S = 1200.0
PROGRAM_LIMIT_S = 40.0
BEGIN = "begin "
# What a program is started with; others print their help.
KERNEL = (
    ".version 7.0\n.target sm_86\n.address_size 64\n"
    ".visible .entry twice(.param .u64 p) {\n .reg .b64 %a<3>; .reg .f32 %f<3>;\n ld.param.u64 %a1, [p];\n"
    " cvta.to.global.u64 %a2, %a1;\n ld.global.f32 %f1, [%a2];\n add.f32 %f2, %f1, %f1;\n"
    " st.global.f32 [%a2], %f2;\n ret;\n}\n"
)
ARGUMENTS = {
    "ptxas": ["-arch=sm_86", "-o", "twice.cubin", "kernel.ptx"],
    "nvcc": ["--version"],
    "fatbinary": ["--create=twice.fatbin", "-64", "--image3=kind=ptx,sm=86,file=kernel.ptx"],
    "bin2c": ["kernel.ptx"],
}


@dataclass
class Trial:
    """What became of each step: ``failed`` are those that ended otherwise than by an illegal instruction."""

    passed: list[str] = field(default_factory=list)
    dead: list[tuple[str, Death]] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        return {
            "passed": self.passed,
            "dead": [{"step": step, **asdict(death)} for step, death in self.dead],
            "failed": [{"step": step, "error": error} for step, error in self.failed],
            "seconds": round(self.seconds, 1),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Trial:
        return cls(
            passed=list(stored["passed"]),
            dead=[(one["step"], Death(one["library"], one["offset"], one["instruction"])) for one in stored["dead"]],
            failed=[(one["step"], one["error"]) for one in stored["failed"]],
            seconds=stored["seconds"],
        )


def read_steps(ended: Ended) -> Trial:
    """The steps that the guest told of; one that was begun and not ended is where the process died."""
    trial = Trial(seconds=ended.seconds)
    begun = ""
    for line in ended.output.splitlines():
        if not line.startswith('{"step"'):
            continue
        told = json.loads(line)
        step, error = told["step"], told["error"]
        if step.startswith(BEGIN):
            begun = step.removeprefix(BEGIN)
            continue
        begun = begun if step.startswith("load ") else ""
        report = REPORT.search(error)
        if told["died"]:
            death = death_of(report) if report else None
            trial.dead.append((step, death)) if death else trial.failed.append((step, error))
        elif error:
            trial.failed.append((step, error))
        else:
            trial.passed.append(step)
    if ended.code == 0 and not begun:
        return trial
    step = begun or "start"
    if ended.death:
        trial.dead.append((step, ended.death))
    else:
        how = "took too long" if ended.code is None else f"exit code {ended.code}"
        trial.failed.append((step, f"{how}: {' '.join(ended.errors.split()[-40:])}"))
    return trial


def environment(emulator: Emulator, work: Path, libraries: str) -> dict[str, str]:
    """A home of its own, so that no kernel compiled for another processor is found; compilers see this processor."""
    bin_ = work / "bin"
    bin_.mkdir(parents=True)
    settings = {
        "HOME": str(work),
        "TMPDIR": str(work),
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "LD_LIBRARY_PATH": libraries,
    }
    for variable, name in (("CC", "cc"), ("CXX", "c++")):
        program = shutil.which(name)
        if program:
            settings[variable] = str(emulator.wrapper(program, bin_ / name))
    return settings


class Bench:
    """The same closure on one processor."""

    def __init__(self, emulator: Emulator, python: Path, work: Path, libraries: str) -> None:
        self.emulator, self.python, self.work, self.libraries = emulator, python, work, libraries

    def plain(self, ended: Ended) -> Ended:
        """The same, without the places of this machine."""

        def short(text: str) -> str:
            return text.replace(f"{self.python.parent.parent}/", "").replace(f"{self.work.parent}/", "")

        death = replace(ended.death, library=short(ended.death.library)) if ended.death else None
        return replace(ended, output=short(ended.output), errors=short(ended.errors), death=death)

    def try_one(self, distribution: Mapping[str, Any], **more: str) -> Trial:
        """All steps of ``distribution``, with ``more`` in its environment."""
        home = self.work / f"{distribution['name']}"
        settings = environment(self.emulator, home, self.libraries) | more
        assemblers = [path for path in distribution["programs"] if Path(path).name == "ptxas"]
        if assemblers:
            # Triton starts it by name: so it is the emulated one.
            settings["TRITON_PTXAS_PATH"] = str(self.emulator.wrapper(assemblers[0], home / "bin" / "ptxas"))
        asked = home / "asked.json"
        asked.write_text(json.dumps(distribution))
        # -P: the folder of the script holds no module that is tried.
        command: list[str | Path] = [self.python, "-P", GUEST, str(distribution["name"]), asked]
        trial = read_steps(self.plain(self.emulator.run(command, settings, home, TRIAL_LIMIT_S)))
        (home / "kernel.ptx").write_text(KERNEL)
        for program in distribution["programs"]:
            step = f"run {Path(program).name}"
            arguments = ARGUMENTS.get(Path(program).name, ["--help"])
            ended = self.plain(self.emulator.run([program, *arguments], settings, home, PROGRAM_LIMIT_S))
            trial.seconds += ended.seconds
            if ended.death:
                trial.dead.append((step, ended.death))
            elif ended.code is None:
                trial.passed.append(f"{step} (it serves, and was ended)")
            elif ended.code < 0:
                trial.failed.append((step, f"exit code {ended.code}: {ended.errors[-200:]}"))
            else:
                # Some programs end with another code after their help.
                trial.passed.append(f"{step} (exit code {ended.code})" if ended.code else step)
        shutil.rmtree(home, ignore_errors=True)
        return trial


def library_path(distributions: list[dict[str, Any]]) -> list[str]:
    """The directories whose libraries others find by name (nix/engine.nix writes the same ones into the libraries)."""
    providers = ("apache-tvm-ffi", "torch", "z3-solver")
    found = {
        os.path.dirname(path)  # noqa: PTH120
        for one in distributions
        if one["name"].startswith("nvidia-") or one["name"] in providers
        for path in one["libraries"]
    }
    return sorted(found)

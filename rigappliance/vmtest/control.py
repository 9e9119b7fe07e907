"""The package under test inside a guest, without a network there.

What it depends on is baked into an image, natively and once a set of
dependencies; the package's own wheel is built from the tree and installed in a
guest once a state of the tree, and that guest is saved.
"""

from __future__ import annotations

import dataclasses
import email
import hashlib
import os
import shutil
import sys
import tomllib
import zipfile
from pathlib import Path

import rigappliance
from rigappliance.errors import UsageError
from rigappliance.vmtest import cache
from rigappliance.vmtest.image import CONTROL_DIRECTORY, Recipe, Wheels
from rigappliance.vmtest.machine import Machine
from rigappliance.vmtest.origin import Origin
from rigappliance.vmtest.programs import run
from rigappliance.vmtest.qemu import Hardware
from rigappliance.vmtest.saved import advanced, booted

COMMAND = "/usr/bin/rigappliance"
TREE = Path(rigappliance.__file__).resolve().parent.parent

# Python of each suite, and the oldest glibc that a wheel for it may ask for.
PYTHON_OF_SUITE = {"bookworm": ("3.11", 36), "trixie": ("3.13", 41)}
OLDEST_GLIBC_MINOR = 17

PIP_TIMEOUT_S = 900.0
INSTALL_TIMEOUT_S = 600


def with_control(recipe: Recipe | None = None, hardware: Hardware | None = None, tree: Path = TREE) -> Origin:
    """A booted guest in which the tree's ``rigappliance`` is installed, made where it is not in the cache yet."""
    wheel = tree_wheel(tree)
    origin = booted(control_recipe(recipe, tree), hardware)
    return advanced(origin, f"control {_content(wheel)}", lambda machine: install(machine, wheel))


def control_recipe(recipe: Recipe | None = None, tree: Path = TREE) -> Recipe:
    """A recipe with what the tree's ``rigappliance`` depends on, but not that itself."""
    wanted = recipe or Recipe()
    return dataclasses.replace(wanted, control=dependency_wheels(tree_wheel(tree), wanted.suite, tree))


def install(machine: Machine, wheel: Path) -> None:
    """Put a wheel of the package into a guest whose image has its dependencies, and link its command."""
    place = f"/var/cache/{wheel.name}"
    machine.copy_from_host(str(wheel), place)
    pip = f"{CONTROL_DIRECTORY}/bin/python -m pip install --quiet --isolated --disable-pip-version-check"
    machine.succeed(
        f"{pip} --no-index --no-deps --no-cache-dir {place}",
        f"rm {place}",
        f"ln --symbolic --force {CONTROL_DIRECTORY}/bin/rigappliance {COMMAND}",
        # Every later test finds it compiled and in memory.
        f"{COMMAND} --version",
        timeout=INSTALL_TIMEOUT_S,
    )


def tree_wheel(tree: Path = TREE) -> Path:
    """Wheel of the package as it is in the tree. Raises ``UsageError`` where there is no tree, ``ImageError``."""
    if not (tree / "pyproject.toml").is_file():
        raise UsageError(
            f"there is no pyproject.toml in {tree}",
            "the package's source tree, from which a wheel is built",
            "run these tests from a checkout",
        )

    def make(directory: Path) -> None:
        # Built from a copy: a build leaves its traces beside the source.
        copy = directory / "tree"
        for path in _sources(tree):
            target = copy / path.relative_to(tree)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        argv = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
        run([*argv, f"--wheel-dir={directory}", str(copy)], doing="building a wheel", timeout_s=PIP_TIMEOUT_S)
        shutil.rmtree(copy)

    sources = [(str(path.relative_to(tree)), hashlib.sha256(path.read_bytes()).hexdigest()) for path in _sources(tree)]
    return next(cache.entry("wheel", cache.key_of(sources), make).glob("*.whl"))


def dependency_wheels(wheel: Path, suite: str, tree: Path = TREE) -> Wheels:
    """What a wheel depends on, as wheels for a suite's Python, in the versions of the tree's lock where it has one."""
    python, newest_glibc_minor = _python_of(suite)
    requirements = _requirements(wheel)
    pins = _pins(tree / "poetry.lock")

    def make(directory: Path) -> None:
        constraints = directory / "constraints.txt"
        constraints.write_text("".join(f"{pin}\n" for pin in pins), encoding="utf-8")
        abi = f"cp{python.replace('.', '')}"
        argv = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        argv += ["--only-binary=:all:", f"--python-version={python}", "--implementation=cp"]
        argv += [f"--abi={abi}", "--abi=abi3", "--abi=none", "--platform=manylinux2014_x86_64"]
        argv += [f"--platform=manylinux_2_{m}_x86_64" for m in range(newest_glibc_minor, OLDEST_GLIBC_MINOR - 1, -1)]
        argv += [f"--constraint={constraints}", f"--dest={directory}", *requirements]
        run(argv, doing="fetching the package's dependencies", timeout_s=PIP_TIMEOUT_S)

    return Wheels(cache.entry("dependencies", cache.key_of(requirements, pins, python), make), tuple(requirements))


def _sources(tree: Path) -> list[Path]:
    """Files that a wheel is made from."""
    found = [tree / "pyproject.toml", tree / "README.md", tree / "LICENSE"]
    for directory, subdirectories, files in os.walk(tree / "rigappliance"):
        subdirectories[:] = [name for name in subdirectories if name != "__pycache__"]
        found += [Path(directory) / name for name in files]
    return sorted(path for path in found if path.is_file())


def _requirements(wheel: Path) -> list[str]:
    """What a wheel needs without its extras."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(name))
    return [line for line in metadata.get_all("Requires-Dist") or [] if "extra ==" not in line]


def _pins(lock: Path) -> list[str]:
    if not lock.is_file():
        return []
    packages = tomllib.loads(lock.read_text(encoding="utf-8")).get("package", [])
    return sorted(f"{package['name']}=={package['version']}" for package in packages)


def _python_of(suite: str) -> tuple[str, int]:
    if suite not in PYTHON_OF_SUITE:
        raise UsageError(
            f"the Python of Debian {suite} is not known here",
            f"one of {', '.join(PYTHON_OF_SUITE)}",
            "add it to PYTHON_OF_SUITE in rigappliance/vmtest/control.py",
        )
    return PYTHON_OF_SUITE[suite]


def _content(wheel: Path) -> str:
    """Name of what is in a wheel, whenever it was packed."""
    with zipfile.ZipFile(wheel) as archive:
        return cache.key_of(sorted((member.filename, member.CRC, member.file_size) for member in archive.infolist()))

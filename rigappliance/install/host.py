"""The machine that is installed on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import rigappliance
from rigappliance.render.host import own_program, systemd_version

# Where root's programs are, which a PATH kept by su or sudo may leave out.
FURTHER_DIRECTORIES = ("/usr/local/sbin", "/usr/sbin", "/sbin")
NOT_FOUND = 127


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it said on both streams."""

    status: int
    output: str


Run = Callable[[Sequence[str]], Done]


@dataclass(frozen=True)
class Host:
    """``root`` stands for ``/``, and ``run`` runs commands.

    ``uid`` is who does the work and ``owner`` who has to; ``systemd`` is the version
    that would read the units, ``None`` where there is none.  ``program`` is what the
    units call, and ``code`` all that is executed by it.  What loses its own owner
    gets ``owner`` and ``group``.
    """

    root: Path
    run: Run
    systemd: int | None
    uid: int
    program: Path
    code: tuple[Path, ...]
    owner: int = 0
    group: int = 0

    def at(self, path: Path) -> Path:
        """Where ``path`` of the host (absolute) is found from here."""
        return self.root / path.relative_to("/")

    @property
    def runs_systemd(self) -> bool:
        """Whether systemd is the init, as sd_booted(3) tells it."""
        return self.at(Path("/run/systemd/system")).is_dir()


def run_command(argv: Sequence[str]) -> Done:
    """Run a command to its end."""
    # What this shell declares is not part of the installation, and messages are passed on as they are known.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RIGAPPLIANCE_")}
    environment["PATH"] = os.pathsep.join([os.environ.get("PATH", os.defpath), *FURTHER_DIRECTORIES])
    environment["LC_ALL"] = "C.UTF-8"
    try:
        done = subprocess.run(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            text=True,
            errors="replace",
            check=False,
        )
    except FileNotFoundError:
        return Done(NOT_FOUND, f"{argv[0]} is not installed")
    except OSError as error:
        return Done(NOT_FOUND, f"{argv[0]} cannot be executed: {error.strerror}")
    return Done(done.returncode, done.stdout)


def this_host() -> Host:
    """The machine that this runs on."""
    program = own_program().absolute()
    return Host(
        root=Path("/"),
        run=run_command,
        systemd=systemd_version(),
        uid=os.geteuid(),
        program=program,
        code=(program, Path(sys.executable).absolute(), Path(rigappliance.__file__).absolute()),
    )

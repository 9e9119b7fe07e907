"""What every step of a fetch needs to know."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rigappliance.config import RigConfig
from rigappliance.fetch.failures import Wanted, failure
from rigappliance.fetch.hf import Hf, environment_for, find_program, token_file
from rigappliance.fetch.listing import HubFile
from rigappliance.fetch.record import status_of
from rigappliance.fetch.stop import Stop
from rigappliance.launch.notify import Notifier


@dataclass(frozen=True)
class Job:
    """What is declared, and whom to tell. ``say`` gets lines for people."""

    repository: str
    revision: str
    directory: Path
    python: Path
    environ: Mapping[str, str]
    say: Callable[[str], None]
    notifier: Notifier
    stop: Stop

    def hf(self, arguments: list[str], on_tick: Callable[[], None]) -> str:
        """What `hf` prints when it succeeds.

        Raises ``EngineMissingError``, ``InterruptedStartError``, what ``on_tick``
        raises, and the error that stands for what went wrong.
        """
        program = find_program(self.python)
        done = Hf(program, environment_for(self.environ), self.stop, self.say).run(arguments, on_tick)
        if done.returncode:
            wanted = Wanted(self.repository, self.revision, self.directory, token_file(self.environ))
            raise failure(done.returncode, done.stderr, wanted)
        return done.stdout

    def has(self, file: HubFile) -> bool:
        """Whether ``file`` is there at its full size, whatever its content."""
        status = status_of(self.directory, file)
        return status is not None and status.st_size == file.size_bytes


def job_of(config: RigConfig, environ: Mapping[str, str], say: Callable[[str], None], stop: Stop) -> Job:
    return Job(
        repository=config.model.repository,
        revision=config.model.revision,
        directory=config.model.path.absolute(),
        python=config.engine.python.absolute(),
        environ=environ,
        say=say,
        notifier=Notifier(environ),
        stop=stop,
    )

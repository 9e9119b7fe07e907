"""Ask Poetry's solver for a lock. Runs in the environment of Poetry, which ``tools/lock`` makes."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

from rigappliance.errors import ConfigError
from tools.locks.index import index_url
from tools.locks.lockfile import Lock, parse


def solved(pyproject_text: str) -> Lock:
    """The newest versions that meet ``pyproject_text``, for every platform and with every file that the index has.

    The project is solved in a copy that names the index as a source of its own:
    Poetry then reads nothing but its simple pages, which every mirror serves,
    while for its default source it asks for a document per release.  What this
    leaves in the answer (sources, and the digest of the copy) goes no further.

    Raises ``ConfigError`` where no versions fit together or the index does not answer.
    """
    with TemporaryDirectory() as directory:
        project = Path(directory) / "project"
        project.mkdir()
        source = f'\n[[tool.poetry.source]]\nname = "simple"\nurl = "{index_url()}"\npriority = "primary"\n'
        (project / "pyproject.toml").write_text(pyproject_text + source, encoding="utf-8")
        # Settings of whoever runs this must not change the answer.
        for name in [name for name in os.environ if name.startswith("POETRY_")]:
            del os.environ[name]
        os.environ["POETRY_CONFIG_DIR"] = os.environ["POETRY_CACHE_DIR"] = directory
        try:
            _solve(project)
        except Exception as error:
            # Poetry's errors have no class in common, and its message says what failed.
            raise ConfigError(
                f"Poetry could not solve the project: {error}",
                "versions that fit together, from an index that answers",
                "change the versions in pyproject.toml, or name an index that pip can reach",
            ) from error
        return parse((project / "poetry.lock").read_text(encoding="utf-8"))


def _solve(project: Path) -> None:
    # The command line insists on an interpreter that the project allows, though
    # solving starts none; the library below it does not.
    from cleo.io.outputs.output import Verbosity  # type: ignore[import-not-found,unused-ignore]
    from poetry.console.application import Application  # type: ignore[import-not-found,unused-ignore]
    from poetry.factory import Factory  # type: ignore[import-not-found,unused-ignore]
    from poetry.installation.installer import Installer  # type: ignore[import-not-found,unused-ignore]
    from poetry.utils.env import NullEnv  # type: ignore[import-not-found,unused-ignore]

    io = Application().create_io()
    io.set_verbosity(Verbosity.QUIET)
    poetry = Factory().create_poetry(project, io=io, disable_cache=True)
    installer = Installer(io, NullEnv(), poetry.package, poetry.locker, poetry.pool, poetry.config, disable_cache=True)
    installer.lock(update=True).run()

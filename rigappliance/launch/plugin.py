"""Our load format, put where the engine's interpreter finds it."""

from __future__ import annotations

import os

from rigappliance.config import RigConfig
from rigappliance.errors import PreflightError
from rigappliance.loader.provide import provide
from rigappliance.render.vllm import loader_directory


def provide_loader(config: RigConfig, environment: dict[str, str]) -> dict[str, str]:
    """``environment`` of the engine, in which the load format is found; unchanged where another one is declared.

    Raises ``PreflightError`` where its few files cannot be written.
    """
    directory = loader_directory(config)
    if directory is None:
        return environment
    try:
        provide(directory.parent)
    except OSError as error:
        raise PreflightError(
            f"the loader cannot be put into {directory.parent}: {error.strerror}",
            "a state_dir that the launch may write to, with some free space",
            "make it so, or set engine.load_format = 'auto', which is the engine's own loader",
        ) from error
    # What the launch itself was given is the engine's too, after ours.
    inherited = os.environ.get("PYTHONPATH")
    found = environment.get("PYTHONPATH", "")
    if not inherited or inherited in found.split(os.pathsep):
        return environment
    return {**environment, "PYTHONPATH": os.pathsep.join(filter(None, [found, inherited]))}

"""One launch of a given program in a process of its own: ``drive.py CONFIG OUTCOME PROGRAM ARGUMENT...``.

CONFIG is a JSON file; the outcome is written as JSON into OUTCOME, and the
process leaves with the outcome's exit code, as `rigappliance launch` does.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from rigappliance.config import RigConfig
from rigappliance.endpoint import endpoint_of
from rigappliance.errors import ExitCode, RigError
from rigappliance.launch import history
from rigappliance.launch.aftermath import settle
from rigappliance.launch.history import Estimator, Key
from rigappliance.launch.notify import Notifier
from rigappliance.launch.outcome import Outcome
from rigappliance.launch.record import Recorder
from rigappliance.launch.start import card_memory_reader, engine_environment, new_state
from rigappliance.launch.state import StateDirectory
from rigappliance.launch.supervisor import Supervisor
from rigappliance.launch.view import PlainView
from rigappliance.render.vllm import EngineCommand


def main() -> int:
    config = RigConfig.model_validate_json(Path(sys.argv[1]).read_text())
    argv = tuple(sys.argv[3:])
    command = EngineCommand(argv=argv, environment={}, secrets={}, notices=())
    directory = StateDirectory(config.state_dir)
    directory.acquire()
    key = Key("0.32.0", "stand-in", "cpu", "test")
    view = PlainView()
    estimator = Estimator(history.read_history(directory), key, 1000, seeded=False)
    recorder = Recorder(directory, new_state(config), key, estimator, 1000)
    supervisor = Supervisor(
        config,
        argv,
        engine_environment(command),
        endpoint_of(config),
        recorder,
        view,
        Notifier(),
        card_memory_reader(config),
    )
    try:
        outcome = asyncio.run(supervisor.run())
    except RigError as error:
        outcome = Outcome(error.exit_code, error.found, error.remedy)
    outcome = settle(outcome, config, directory, recorder.state)
    recorder.end(outcome)
    view.close()
    cause = outcome.diagnosis.cause.name if outcome.diagnosis else None
    content = {"code": ExitCode(outcome.ending).name, "message": outcome.message, "remedy": outcome.remedy}
    Path(sys.argv[2]).write_text(json.dumps({**content, "cause": cause}))
    return outcome.exit_code


if __name__ == "__main__":
    sys.exit(main())

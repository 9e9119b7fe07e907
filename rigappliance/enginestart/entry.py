"""Executed by the engine's interpreter in place of the stock entry point, with the arguments that this would get.

    PYTHON entry.py serve MODEL OPTION...
    PYTHON entry.py -m vllm.entrypoints.openai.api_server OPTION...

Whatever is not as expected, the stock engine is started and one line says why.
"""

from __future__ import annotations

import gc
import importlib
import os
import socket
import sys
import time
import warnings
from pathlib import Path

if __name__ == "__main__":
    # Only for as long as this package is imported: nothing of the control plane may hide a module of the engine's.
    sys.path[0] = str(Path(__file__).resolve().parents[2])

# A process that is spawned after all runs the main file once more under this name (multiprocessing/spawn.py), without
# the path from above, and needs nothing of it.
if __name__ != "__mp_main__":
    from rigappliance.enginestart import environment, holes, immortal, imports, popen, sound, template, tune
    from rigappliance.enginestart.say import say

MODULE = "vllm.entrypoints.openai.api_server"
# The function that each way of starting ends in.
STOCK = {"serve": "vllm.entrypoints.cli.main", "module": "vllm.entrypoints.launchers.api_server.entry"}


def share(device: str) -> str | None:
    """Import everything, fork the template and have processes started by it. Why not, if it was not done."""
    started = time.monotonic()
    # The collector finds no garbage in half a million objects that are imported to stay, again and again.
    gc.disable()
    try:
        imports.import_all(device)
    finally:
        gc.enable()
    imported_s = time.monotonic() - started
    if (reason := imports.version_mismatch()) is not None:
        return reason
    sound.close_nvml()
    if reasons := list(sound.before_fork()):
        return "; ".join(reasons)
    told = list(tune.tune(popen.retire))
    # Nothing of what the imports dropped is to be carried by every process.
    tune.trim()
    immortal.make_all()
    holes.fill()
    tune.keep_frozen()
    base = dict(os.environ)
    stock = popen.install(base)
    if (reason := fork_template()) is not None:
        stock()
        return reason
    for text in told:
        say(text)
    say(f"imported once in {imported_s:.1f} s; core and workers are forked from it")
    return None


def fork_template() -> str | None:
    """None, or why there is none."""
    theirs, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        # Python 3.12 and newer warn of any other thread; `after_fork` says which, and whether it matters.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        ours.close()
        template.become(theirs)
    reasons = list(sound.after_fork())
    theirs.close()
    if reasons:
        ours.close()
        os.waitpid(pid, 0)
        return "; ".join(reasons)
    template.client[:] = [ours.detach()]
    return None


def main() -> None:
    arguments = sys.argv[1:]
    torch = environment.torch_directory()
    wanted = environment.before_imports(os.environ, torch)
    if wanted:
        os.environ.update(wanted)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 no shell is wanted here
    device = "cpu" if torch is not None and environment.is_cpu_build(torch) else "cuda"
    how = "module" if arguments[:2] == ["-m", MODULE] else "serve"
    sys.argv = [MODULE, *arguments[2:]] if how == "module" else ["vllm", *arguments]
    try:
        reason = share(device)
    except Exception as error:
        # Whatever it is, the stock engine says it better or does without.
        reason = f"{type(error).__name__}: {error}"
    if reason is not None:
        say(f"as the stock engine does: {reason}")
    importlib.import_module(STOCK[how]).main()


if __name__ == "__main__":
    del sys.path[0]
    main()

"""A process that has a template, as the engine's first process does; its children's work lies here."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import sys
import time
import types
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from rigappliance.enginestart import entry, popen, template

# In the template's memory from before the fork: a fresh interpreter would not have it.
marked: list[str] = []


def tell(pipe: Connection, lock: Any = None) -> None:
    with lock or multiprocessing.RLock():
        name = Path("/proc/self/comm").read_text().strip()
        pipe.send(
            {
                "pid": os.getpid(),
                "marked": list(marked),
                "environ": dict(os.environ),
                "comm": name,
                "argv": sys.argv,
                "random": random.random(),
                "parent": os.getppid(),
                "sigint": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
                "sigterm": signal.getsignal(signal.SIGTERM) is signal.SIG_DFL,
                "descriptors": len(list(Path("/proc/self/fd").iterdir())),
            }
        )


def leave(code: int) -> None:
    sys.exit(code)


def fail() -> None:
    raise ValueError("broken on purpose")


def sleep() -> None:
    time.sleep(60)


def start_another(pipe: Connection) -> None:
    """As the core starts its workers."""
    context = multiprocessing.get_context("spawn")
    child = context.Process(target=tell, args=(pipe,))
    child.start()
    child.join()
    pipe.send({"pid": os.getpid(), "code": child.exitcode})


def pretend() -> None:
    """The functions above are the engine's: of others' processes none is forked."""
    sys.modules["vllm"] = types.ModuleType("vllm")
    sys.modules["vllm.made_up"] = sys.modules[__name__]
    for function in (tell, leave, fail, sleep, start_another):
        function.__module__ = "vllm.made_up"


# In a fresh interpreter too, which imports this file before it looks for them.
pretend()


def prepare() -> None:
    """Everything that the entry does after the imports."""
    marked.append("before the fork")
    popen.install(dict(os.environ))
    reason = entry.fork_template()
    assert reason is None, reason


def ask(*arguments: Any) -> list[Any]:
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=arguments[0], args=(sending, *arguments[1:]))
    process.start()
    found = []
    while wait([receiving, process.sentinel], 20):
        if not receiving.poll():
            break
        found.append(receiving.recv())
    process.join(20)
    return [*found, {"code": process.exitcode}]


def main() -> None:
    prepare()
    context = multiprocessing.get_context("spawn")
    found: dict[str, Any] = {"own": os.getpid()}
    os.environ["LOCAL_WORLD_SIZE"] = "2"
    found["told"] = ask(tell, context.Lock())
    found["again"] = ask(tell)
    found["nested"] = ask(start_another)
    codes = {}
    for name, target, arguments in (("left", leave, (7,)), ("failed", fail, ())):
        process = context.Process(target=target, args=arguments)
        process.start()
        process.join(20)
        codes[name] = process.exitcode
    process = context.Process(target=sleep)
    process.start()
    codes["alive"] = process.exitcode
    os.kill(process.pid or 0, signal.SIGKILL)
    wait([process.sentinel], 20)
    codes["killed"] = process.exitcode
    found["codes"] = codes
    early, asleep = context.Process(target=sleep), context.Process(target=sleep)
    early.start()
    asleep.start()
    found["beside"] = ask(tell)
    os.environ["LD_PRELOAD_NOT"] = "x"
    found["spawned"] = ask(tell)
    del os.environ["LD_PRELOAD_NOT"]
    popen.retire()
    sleeping_too = early
    os.kill(sleeping_too.pid or 0, signal.SIGUSR1)
    sleeping_too.join(20)
    codes["ended after the template retired"] = sleeping_too.exitcode
    process = asleep
    sleeping = process.pid or 0
    mould = int(Path(f"/proc/{sleeping}/stat").read_text().rsplit(")", 1)[1].split()[1])
    found["reaper"] = Path(f"/proc/{mould}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    os.kill(mould, signal.SIGKILL)
    os.waitpid(mould, 0)
    # Its sentinel is its own end, not the template's.
    codes["template gone, alive"] = bool(wait([process.sentinel], 0.2))
    process.terminate()
    process.join(20)
    codes["end that nobody saw"] = process.exitcode
    found["after"] = ask(tell)
    found["template"] = mould
    print(json.dumps(found))
    assert template.client


if __name__ == "__main__":
    main()

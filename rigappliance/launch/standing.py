"""How things stand that somebody changes to mend a cause: short texts, to be compared with those of another time."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from rigappliance.caches.store import Store
from rigappliance.config import RigConfig
from rigappliance.diagnosis.cause import Fact
from rigappliance.errors import RigError
from rigappliance.facts.host import parse_meminfo
from rigappliance.launch import cgroup
from rigappliance.launch.boot import boot_id
from rigappliance.launch.leftovers import SHARED_MEMORY
from rigappliance.units import memory_limit_bytes

# Looked at when a launch begins: what is mended while an engine fails would otherwise count as it was.
FROM_THE_START = (Fact.CONFIGURATION, Fact.CHECKPOINT, Fact.TOOLCHAIN, Fact.ENGINE)

# The kernel's own share of the RAM differs a little from boot to boot.
RAM_STEP_BYTES = 256 << 20
# Less than this, or less than twice of what there was, fills up again.
RELIEF_BYTES = 256 << 20

COMPILERS = ("cc", "gcc", "c++", "g++", "clang", "nvcc", "ninja")
HEADER_VARIABLES = ("CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH")
LIBRARY_VARIABLES = ("LIBRARY_PATH", "LD_LIBRARY_PATH")
SYSTEM_LIBRARIES = ("usr/lib", "usr/lib64", "lib", "usr/local/lib", "usr/local/cuda/lib64/stubs")


def standing(config: RigConfig, facts: Iterable[Fact], root: Path = Path("/")) -> dict[str, str]:
    """The ``facts`` as they are now, by name; what cannot be known is an empty text."""
    found = {}
    for fact in facts:
        try:
            found[str(fact)] = READERS[fact](config, root)
        except RigError:
            # A signal that asks to stop comes as one, wherever it finds us.
            raise
        except Exception:
            # One of them must not keep an engine from being started, or its end from being recorded.
            found[str(fact)] = ""
    return found


def as_it_was(fact: str, then: str, now: str) -> bool:
    """Whether nothing has changed that could have mended it."""
    if fact != Fact.DISK:
        return then == now
    (free_then, _, rest_then), (free_now, _, rest_now) = then.partition(" "), now.partition(" ")
    if rest_then != rest_now or not (free_then.isdigit() and free_now.isdigit()):
        return then == now
    return int(free_now) < max(2 * int(free_then), int(free_then) + RELIEF_BYTES)


def configuration(config: RigConfig, _: Path) -> str:
    """All but what only the supervisor and preflight look at, and the limit that the unit or `ulimit` sets."""
    tree = config.model_dump(mode="json", exclude={"launch", "hardware", "profile"})
    tree["server"].pop("log_probes", None)
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return f"{digest(json.dumps(tree, sort_keys=True))} files {files}"


def checkpoint(config: RigConfig, _: Path) -> str:
    """Names, sizes and times of its files, and whether this user may read them."""
    lines = []
    try:
        with os.scandir(config.model.path) as entries:
            for entry in entries:
                if entry.is_file():
                    status = entry.stat()
                    readable = os.access(entry.path, os.R_OK)
                    lines.append(f"{entry.name} {status.st_size} {status.st_mtime_ns} {status.st_mode} {readable}")
    except OSError as error:
        return f"{error.strerror}"
    return digest("\n".join(sorted(lines)))


def memory(config: RigConfig, root: Path) -> str:
    ram = parse_meminfo(cgroup.read(root / "proc/meminfo")).get("MemTotal", 0)
    group = cgroup.own_group(root)
    limit = cgroup.limit_bytes(group) if group else None
    # Declared too: a unit that was rendered anew is on its way.
    declared = memory_limit_bytes(config.memory.max, ram)
    sizes = [ram, limit or 0, declared]
    with suppress(OSError):
        shared = shutil.disk_usage(SHARED_MEMORY)
        sizes += [shared.total, shared.used]
    return " ".join(str(round(size / RAM_STEP_BYTES)) for size in sizes)


def swap(_: RigConfig, root: Path) -> str:
    return str(parse_meminfo(cgroup.read(root / "proc/meminfo")).get("SwapTotal", 0) >> 20)


def cards(config: RigConfig, _: Path) -> str:
    if config.engine.device != "cuda":
        return "none"
    from rigappliance.facts.gpu import read_gpu_facts

    facts = read_gpu_facts()
    names = ", ".join(f"{card.name} {card.bus_id} {card.problem or ''}".strip() for card in facts.cards)
    return f"driver {facts.driver_version}: {names or facts.reason}"


def toolchain(config: RigConfig, root: Path) -> str:
    """Where the compilers are, and which headers and libraries of Python, libnuma and CUDA there are."""
    environment = {**os.environ, **config.engine.environment}
    path = environment.get("PATH", os.defpath)
    found = [f"{name}={os.path.realpath(where)}" for name in COMPILERS if (where := shutil.which(name, path=path))]
    headers = [*listed(environment, HEADER_VARIABLES), root / "usr/include", *python_headers(config.engine.python)]
    libraries = [*listed(environment, LIBRARY_VARIABLES), *(root / place for place in SYSTEM_LIBRARIES)]
    for directory in headers:
        found += sorted(
            str(file) for name in ("Python.h", "python3*/Python.h", "numa.h") for file in directory.glob(name)
        )
    for directory in libraries:
        patterns = ("libnuma.so*", "libcuda.so*", "*-linux-gnu/libnuma.so*", "*-linux-gnu/libcuda.so*")
        found += sorted(str(file) for pattern in patterns for file in directory.glob(pattern))
    return digest("\n".join(dict.fromkeys(found)))


def listed(environment: Mapping[str, str], variables: Iterable[str]) -> list[Path]:
    """The directories in variables such as ``CPATH``."""
    return [Path(each) for name in variables for each in environment.get(name, "").split(":") if each]


def python_headers(python: Path) -> list[Path]:
    """Where the headers of an interpreter are, without running it: beside it, or where its environment is from."""
    places = [python.parent.parent / "include", Path(os.path.realpath(python)).parent.parent / "include"]
    with suppress(OSError):
        for line in (python.parent.parent / "pyvenv.cfg").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition("=")
            if name.strip() == "home":
                places.append(Path(value.strip()).parent / "include")
    return list(dict.fromkeys(places))


def engine(config: RigConfig, _: Path) -> str:
    """Metadata of the packages beside the interpreter: an installation makes them anew."""
    python = config.engine.python
    lines = [os.path.realpath(python)]
    for directory in sorted(python.parent.parent.glob("lib*/python3*/*-packages")):
        with suppress(OSError), os.scandir(directory) as entries:
            names = [(entry.name, entry.stat().st_mtime_ns) for entry in entries if entry.name.endswith(".dist-info")]
            lines += [f"{directory}/{name} {time_ns}" for name, time_ns in sorted(names)]
    return digest("\n".join(lines))


def disk(config: RigConfig, _: Path) -> str:
    """Free bytes, and the directories below the state directory that this user may not write."""
    state = config.state_dir
    places = [state, state / "tmp", state / "cache", *sorted((state / "cache").glob("*/"))]
    locked = [str(place) for place in places if place.exists() and not os.access(place, os.W_OK)]
    return " ".join([str(shutil.disk_usage(state).free), *locked])


def port(config: RigConfig, _: Path) -> str:
    from rigappliance.preflight.port import bind_error, resolve

    errors = [bind_error(family, host, config.server.port) for family, (host, _) in resolve(config.server.host)]
    return "taken" if any(errors) else "free"


def boot(_: RigConfig, root: Path) -> str:
    return boot_id(root)


def caches(config: RigConfig, _: Path) -> str:
    return Store(config.state_dir).standing()


def digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:16]


READERS: dict[Fact, Callable[[RigConfig, Path], str]] = {
    Fact.CONFIGURATION: configuration,
    Fact.CHECKPOINT: checkpoint,
    Fact.MEMORY: memory,
    Fact.SWAP: swap,
    Fact.CARDS: cards,
    Fact.TOOLCHAIN: toolchain,
    Fact.ENGINE: engine,
    Fact.DISK: disk,
    Fact.PORT: port,
    Fact.BOOT: boot,
    Fact.CACHES: caches,
}

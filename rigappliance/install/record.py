"""How the record of an installation changes: what came first is never forgotten."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from rigappliance import __version__
from rigappliance.install.compare import Comparison
from rigappliance.install.declaration import Declaration
from rigappliance.install.host import Host
from rigappliance.install.manifest import Checkpoint, Manifest, Parameter, SwapFile, digest
from rigappliance.install.users import group_entry, is_ours, user_entry
from rigappliance.render.systemd import USER, unit_names

T = TypeVar("T")


def next_manifest(
    host: Host,
    declaration: Declaration,
    comparison: Comparison,
    previous: Manifest | None,
    directories: list[Path],
) -> Manifest:
    """The record as it is when all is done; what the first installation found is kept."""
    config = declaration.config
    state, model = config.state_dir.absolute(), config.model.path.absolute()
    user, group = user_entry(host, USER), group_entry(host, USER)
    made_user = user is None or is_ours(user)
    earlier = {checkpoint.path: checkpoint for checkpoint in (previous.checkpoints if previous else ())}
    made = declaration.fetch and not model.is_relative_to(state) and not host.at(model).exists()
    checkpoint = earlier.pop(model, Checkpoint(path=model, made=made))
    known = previous.directories if previous else ()
    return Manifest(
        complete=True,
        version=__version__,
        program=host.program,
        config_file=declaration.file,
        config_digest=digest(declaration.text),
        profile=declaration.profile,
        fetch=declaration.fetch,
        units=unit_names(config, fetch=declaration.fetch),
        files=comparison.files,
        directories=(*known, *(path for path in directories if path not in known)),
        made_user=made_user or bool(previous and previous.made_user),
        made_group=made_user or group is None or bool(previous and previous.made_group),
        state_dirs=(state, *(path for path in (previous.state_dirs if previous else ()) if path != state)),
        checkpoints=(checkpoint, *earlier.values()),
        swaps=next_swaps(host, declaration, previous),
    )


def next_swaps(host: Host, declaration: Declaration, previous: Manifest | None) -> tuple[SwapFile, ...]:
    memory = declaration.config.memory
    if not memory.swap:
        return ()
    file = memory.swap_file.absolute()
    earlier = [swap for swap in (previous.swaps if previous else ()) if swap.path == file]
    return tuple(earlier) or (SwapFile(path=file, made=not host.at(file).exists()),)


def during(manifest: Manifest, previous: Manifest | None) -> Manifest:
    """The record while the steps are carried out: whatever is undone then belongs to one of the two."""
    if previous is None:
        return manifest.model_copy(update={"complete": False})
    files = {
        path: both(previous.files.get(path, ()), manifest.files.get(path, ()))
        for path in (*previous.files, *manifest.files)
    }
    parameters = dict(previous.parameters)
    for name, new in manifest.parameters.items():
        old = parameters.get(name, new)
        parameters[name] = Parameter(before=old.before, ours=both(old.ours, new.ours))
    return manifest.model_copy(
        update={
            "complete": False,
            "files": files,
            "units": both(manifest.units, previous.units),
            "parameters": parameters,
            "swaps": both(manifest.swaps, previous.swaps),
        }
    )


def both(one: tuple[T, ...], other: tuple[T, ...]) -> tuple[T, ...]:
    """The members of the two, each once."""
    return tuple(dict.fromkeys((*one, *other)))

"""The smallest limit of a control group and those above it."""

from __future__ import annotations

from pathlib import Path

from rigappliance.facts.memorylimit import MemoryLimitFacts, read_memory_limits
from tests.unit.facts.test_kernel import write

GIB = 1024**3
OWN = "sys/fs/cgroup/user.slice/session-1.scope"


def machine(root: Path, **limits: str) -> Path:
    """Limits of groups, whose names have ``__`` for a slash; systemd runs."""
    (root / "run/systemd/system").mkdir(parents=True)
    groups = {name.replace("__", "/").replace("_", "."): value for name, value in limits.items()}
    return write(
        root,
        {
            "proc/self/cgroup": "0::/user.slice/session-1.scope\n",
            f"{OWN}/memory.events": "oom 0\n",
            **{f"sys/fs/cgroup/{name}/memory.max": value for name, value in groups.items()},
        },
    )


def test_the_smallest_from_the_group_up_wins(tmp_path: Path) -> None:
    facts = read_memory_limits(machine(tmp_path, user_slice=f"{4 * GIB}\n", user_slice__own="max"))
    assert (facts.version, facts.own_bytes, facts.own_group) == (2, 4 * GIB, "/user.slice")
    assert (facts.unit_bytes, facts.unit_group) == (None, None)


def test_the_slices_above_the_service_bound_it_before_it_runs(tmp_path: Path) -> None:
    facts = read_memory_limits(machine(tmp_path, system_slice=f"{2 * GIB}"))
    assert (facts.unit_bytes, facts.unit_group) == (2 * GIB, "/system.slice")
    assert facts.own_bytes is None


def test_the_services_own_limit_counts_once_it_runs(tmp_path: Path) -> None:
    root = machine(tmp_path, system_slice=f"{2 * GIB}", system_slice__rigappliance_service=f"{GIB}")
    assert read_memory_limits(root).unit_group == "/system.slice/rigappliance.service"


def test_version_1_says_no_limit_with_a_number(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/x\n",
            "sys/fs/cgroup/memory/x/memory.oom_control": "oom_kill_disable 0\n",
            "sys/fs/cgroup/memory/x/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "1073741824\n",
        },
    )
    facts = read_memory_limits(root)
    assert (facts.version, facts.own_bytes, facts.own_group) == (1, GIB, "/")
    (root / "sys/fs/cgroup/memory/memory.limit_in_bytes").unlink()
    assert read_memory_limits(root).own_bytes is None


def test_without_control_groups_nothing_is_known(tmp_path: Path) -> None:
    assert read_memory_limits(tmp_path) == MemoryLimitFacts()

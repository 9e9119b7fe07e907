"""Variables of the engine's processes: which may change after the imports, and what becomes of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rigappliance.enginestart.environment import Change, before_imports, change, is_cpu_build

BASE = {"PATH": "/bin", "HOME": "/root"}


def torch_at(place: Path, cuda: str) -> Path:
    torch = place / "torch"
    torch.mkdir()
    (torch / "version.py").write_text(f"__version__ = '2.13.0'\ncuda{cuda}\n")
    return torch


@pytest.mark.parametrize(
    ("line", "cpu"),
    [(": Optional[str] = None", True), (" = None", True), (": Optional[str] = '13.0'", False), (" = '12.9'", False)],
)
def test_the_build_is_read_without_importing_torch(tmp_path: Path, line: str, cpu: bool) -> None:
    assert is_cpu_build(torch_at(tmp_path, line)) is cpu


def test_the_cuda_build_wants_few_arenas_and_nothing_else(tmp_path: Path) -> None:
    torch = torch_at(tmp_path, " = '13.0'")
    assert before_imports({}, torch) == {"MALLOC_ARENA_MAX": "2"}
    assert before_imports({"MALLOC_ARENA_MAX": "8"}, torch) == {}


def test_the_cpu_build_gets_its_openmp_in_front_once(tmp_path: Path) -> None:
    torch = torch_at(tmp_path, " = None")
    library = tmp_path / "torch.libs" / "libgomp-1234.so.1"
    library.parent.mkdir()
    library.touch()
    wanted = before_imports({"LD_PRELOAD": "/lib/mine.so"}, torch)
    assert wanted["LD_PRELOAD"] == f"/lib/mine.so:{library}"
    assert wanted["TORCHINDUCTOR_CPP_DYNAMIC_THREADS"] == "1"
    # Executed again with these, it has nothing more to set: no endless loop.
    assert before_imports({"LD_PRELOAD": "/lib/mine.so", **wanted}, torch) == {}


def test_an_operators_openmp_is_kept(tmp_path: Path) -> None:
    torch = torch_at(tmp_path, " = None")
    (torch / "lib").mkdir()
    (torch / "lib" / "libgomp.so.1").touch()
    assert "LD_PRELOAD" not in before_imports({"LD_PRELOAD": "/opt/libiomp5.so"}, torch)


def test_a_variable_that_is_read_late_may_change() -> None:
    now = {**BASE, "LOCAL_WORLD_SIZE": "2", "VLLM_WORKER_MULTIPROC_METHOD": "spawn"}
    assert change(BASE, now) == Change(now, None, ())


@pytest.mark.parametrize(
    "now",
    [
        {**BASE, "LD_PRELOAD": "/lib/a.so"},
        {"PATH": "/bin"},
        {**BASE, "OMP_NUM_THREADS": "two"},
        {**BASE, "OMP_NUM_THREADS": "0"},
        {**BASE, "OMP_PROC_BIND": "true"},
        {**BASE, "GOMP_CPU_AFFINITY": "0-3:2"},
        {**BASE, "HOME": "/elsewhere"},
    ],
)
def test_any_other_variable_is_named(now: dict[str, str]) -> None:
    name = change(BASE, now)
    assert isinstance(name, str)
    assert now.get(name) != BASE.get(name)


@pytest.mark.parametrize(
    ("binding", "cpus"),
    [
        ({"GOMP_CPU_AFFINITY": "0 12"}, (0, 12)),
        ({"OMP_PLACES": "{3,4}", "OMP_PROC_BIND": "true"}, (3, 4)),
    ],
)
def test_what_openmp_would_read_is_done_to_the_child(binding: dict[str, str], cpus: tuple[int, ...]) -> None:
    now = {**BASE, "OMP_NUM_THREADS": "2", **binding}
    assert change(BASE, now) == Change(now, 2, cpus)


def test_openmp_variables_that_go_away_are_not_forgotten() -> None:
    assert change({**BASE, "OMP_NUM_THREADS": "4"}, BASE) == "OMP_NUM_THREADS"


def test_a_child_takes_all_variables_and_its_cpus() -> None:
    """In a process of its own, since it changes itself."""
    cpu = min(os.sched_getaffinity(0))
    script = (
        "import os\n"
        "from rigappliance.enginestart.environment import Change, apply\n"
        f"apply(Change({{'KEPT': 'a', 'NEW': 'b'}}, None, ({cpu},)))\n"
        "print(dict(os.environ), os.sched_getaffinity(0))\n"
        # What libraries see, not only Python.
        "import ctypes; getenv = ctypes.CDLL(None).getenv; getenv.restype = ctypes.c_char_p\n"
        "print(getenv(b'GONE'), getenv(b'NEW'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env={"KEPT": "a", "GONE": "c"}, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [f"{{'KEPT': 'a', 'NEW': 'b'}} {{{cpu}}}", "None b'b'"]

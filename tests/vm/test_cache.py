"""The cache of images and states, the directories of running machines, and choices that need no guest."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rigappliance.errors import PreflightError, UsageError
from rigappliance.vmtest import cache, qemu, rundir
from rigappliance.vmtest.console import Console
from rigappliance.vmtest.errors import ImageError
from rigappliance.vmtest.image import Recipe
from rigappliance.vmtest.initrd import module_files
from rigappliance.vmtest.programs import program, run

DAY_S = 24 * 3600.0


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def write_one(directory: Path) -> None:
    (directory / "one").write_text("1", encoding="utf-8")


def make(key: str, unused_s: float = 0.0) -> Path:
    path = cache.entry("thing", key, write_one)
    used = time.time() - unused_s
    os.utime(path / cache.USED, (used, used))
    return path


def refuse(directory: Path) -> None:
    raise AssertionError(f"made again in {directory}")


def fail_half_way(directory: Path) -> None:
    write_one(directory)
    raise ImageError("broken")


def test_an_entry_is_made_once() -> None:
    path = make("a")
    assert cache.entry("thing", "a", refuse) == path
    assert (path / "one").read_text(encoding="utf-8") == "1"


def test_what_fails_half_way_leaves_nothing() -> None:
    with pytest.raises(ImageError, match="broken"):
        cache.entry("thing", "a", fail_half_way)
    assert list((cache.cache_directory() / "thing").iterdir()) == []


def test_what_a_killed_process_was_making_is_cleared_away() -> None:
    script = (
        "import os; from rigappliance.vmtest import cache; "
        "cache.entry('thing', 'a', lambda path: os.kill(os.getpid(), 9))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    assert len(list((cache.cache_directory() / "thing").iterdir())) == 1
    assert list(make("a").parent.iterdir()) == [make("a")]


def test_two_that_want_the_same_make_it_once(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from rigappliance.vmtest import cache\n"
        "def make(path):\n"
        "    with Path(sys.argv[1]).open('a') as made: made.write('x')\n"
        "    time.sleep(0.5)\n"
        "cache.entry('thing', 'a', make)"
    )
    made = tmp_path / "made"
    both = [subprocess.Popen([sys.executable, "-c", script, str(made)]) for _ in range(2)]
    assert [one.wait(60) for one in both] == [0, 0]
    assert made.read_text(encoding="utf-8") == "x"


def test_an_entry_that_is_no_longer_whole_is_another_making() -> None:
    path = make("a")
    before = cache.identity(path)
    (path / "one").unlink()
    again = cache.entry("thing", "a", write_one, whole=lambda directory: (directory / "one").exists())
    assert again == path and (path / "one").exists()
    assert cache.identity(path) != before


def test_what_was_not_used_for_long_goes_unless_it_is_in_use() -> None:
    old, held, fresh = make("old", 40 * DAY_S), make("held"), make("fresh", 20 * DAY_S)
    descriptor = cache.hold(held)
    os.utime(held / cache.USED, (0, 0))
    cache.prune("thing")
    assert (old.exists(), held.exists(), fresh.exists()) == (False, True, True)
    os.close(descriptor)
    cache.prune("thing")
    assert not held.exists()


def test_only_the_latest_few_are_kept() -> None:
    paths = [make(f"{number}", DAY_S - number) for number in range(cache.KEPT_OF_A_KIND + 2)]
    just_used = make("now")
    assert [path.exists() for path in paths] == [False] * 3 + [True] * (len(paths) - 3)
    assert just_used.exists()


def test_a_recipe_is_named_by_all_that_goes_into_it(monkeypatch: pytest.MonkeyPatch) -> None:
    recipes = [Recipe(), Recipe(suite="bookworm"), Recipe(packages=("gcc",)), Recipe(disk_bytes=2**30)]
    keys = {recipe.key for recipe in recipes}
    assert len(keys) == len(recipes)
    assert Recipe(packages=("a", "b")).key == Recipe(packages=("b", "a")).key
    before = Recipe().key
    monkeypatch.setenv("RIGAPPLIANCE_VMTEST_MIRROR", "file:///srv/mirror")
    assert Recipe().key != before


def test_directories_of_dead_owners_are_swept() -> None:
    script = (
        "import os; from rigappliance.vmtest.rundir import RunDirectory; "
        "one = RunDirectory(); print(one.path, flush=True); os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    left = Path(killed.stdout.strip())
    assert left.is_dir()
    living = rundir.RunDirectory()
    assert not left.exists()
    rundir.RunDirectory().remove()
    assert living.path.is_dir()
    living.remove()
    assert not living.path.exists()


def test_the_oldest_logs_go() -> None:
    made = [rundir.log_directory(f"{number:03}") for number in range(rundir.KEPT_LOGS + 3)]
    assert sum(path.exists() for path in made) == rundir.KEPT_LOGS + 1
    assert made[-1].exists()


@pytest.mark.parametrize(
    ("flags", "wanted", "kind"),
    [
        ("fpu vmx sse", "", "kvm"),
        ("fpu svm sse", "", "kvm"),
        ("fpu sse vmxnet", "", "tcg"),
        ("fpu vmx", "tcg", "tcg"),
        ("fpu", "kvm", "kvm"),
    ],
)
def test_kvm_is_used_where_the_processor_has_it(
    flags: str, wanted: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kvm").touch()
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t\t:\n", encoding="ascii")
    monkeypatch.setattr(qemu, "KVM", tmp_path / "kvm")
    monkeypatch.setattr(qemu, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setenv(qemu.ACCELERATOR_VARIABLE, wanted)
    assert qemu.accelerator() == kind


def test_an_unknown_accelerator_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(qemu.ACCELERATOR_VARIABLE, "xen")
    with pytest.raises(UsageError, match="'xen'"):
        qemu.accelerator()


def test_modules_come_in_the_order_of_loading(tmp_path: Path) -> None:
    (tmp_path / "modules.dep").write_text("a/top.ko.xz: a/mid-dle.ko a/low.ko\na/mid-dle.ko: a/low.ko\na/low.ko:\n")
    (tmp_path / "modules.builtin").write_text("kernel/built-in.ko\n")
    assert [path.name for path in module_files(tmp_path, ("built_in", "mid_dle", "top"))] == [
        "low.ko",
        "mid-dle.ko",
        "top.ko.xz",
    ]
    with pytest.raises(ImageError, match="no module other"):
        module_files(tmp_path, ("other",))


def test_the_console_shows_whole_lines_without_escapes(tmp_path: Path) -> None:
    console = Console(tmp_path / "console.log")
    assert console.text() == ""
    (tmp_path / "console.log").write_bytes(b"earlier\n")
    console.begin()
    with (tmp_path / "console.log").open("ab") as file:
        file.write(b"[\x1b[0;32m  OK  \x1b[0m] one\r\nhalf of tw")
    assert console.text() == "[  OK  ] one\nhalf of tw"
    assert console.wait_for("OK.*one", 0, lambda: None)
    assert not console.wait_for("half", 0, lambda: None)
    with (tmp_path / "console.log").open("ab") as file:
        file.write(b"o\n")
    assert console.wait_for("^half of two$", 0, lambda: None)
    assert not console.wait_for("one", 0, lambda: None)


def test_a_missing_program_names_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("rigappliance.vmtest.programs.SYSTEM_PATH", str(tmp_path))
    with pytest.raises(PreflightError, match="apt-get install qemu-system-x86"):
        program("qemu-system-x86_64")


def test_a_failed_program_shows_its_words() -> None:
    with pytest.raises(ImageError, match="trying failed: sh left with status 3:\nthe reason"):
        run(["/bin/sh", "-c", "echo the reason >&2; exit 3"], doing="trying", timeout_s=60)
